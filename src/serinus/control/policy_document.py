"""A policy as people write it: YAML 1.2 or JSON, checked field by field, with the place of every mistake.

JSON is read by the same reader, since it is YAML. Nothing of a document is ever executed: its nodes are read
without making objects of them, anchors and tags are refused, and a document is at most 64 KiB.
"""

import ast
import inspect
import io
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from serinus.control.policy_faults import UNREAD, Spot, faults, no_field
from serinus.core.errors import InvalidInput
from serinus.rollout import policy as definition
from serinus.rollout.allowed import words_of
from serinus.rollout.policy import Policy

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node

MOST_BYTES = 1 << 16
_MOST_DEPTH = 8
_SCHEMA_KEY = "$schema"
_FIELDS = {field.name: field for field in msgspec.structs.fields(Policy)}


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, and where. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    field: str
    words: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.words}"


class InvalidPolicy(InvalidInput):
    """The document is no policy. `mistakes` has all of them, in the order of the document."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = sorted(mistakes, key=lambda one: (one.line, one.column))
        super().__init__(
            "\n".join(map(str, self.mistakes)), remedy="`serinus policy schema` has all that is allowed."
        )


class _Place(NamedTuple):
    line: int
    column: int


class _Places(NamedTuple):
    """Where a value stands, and its name. An item of a list has none: there both are the same."""

    name: _Place
    value: _Place


def read(data: bytes, file: str, name: str = "") -> Policy:
    """The policy of a document; `file` is what people call it. `name`: its name, unless it says another.

    Raises InvalidPolicy with every mistake.
    """
    places = {"": _Places(_Place(1, 1), _Place(1, 1))}

    def mistake(field: str, words: str, spot: Spot = Spot.NAME) -> Mistake:
        known = places.get(field, places[""])
        place = known.name if spot is Spot.NAME else known.value
        return Mistake(file=file, line=place.line, column=place.column, field=field, words=words)

    given, wrong = _compose(data, file, places)
    given.pop(_SCHEMA_KEY, None)
    values: dict[str, Any] = {}
    mistakes = list(wrong)
    for key, value in given.items():
        if key not in _FIELDS:
            mistakes.append(mistake(key, no_field("", key, list(_FIELDS))))
            continue
        try:
            values[key] = msgspec.convert(value, _FIELDS[key].type, strict=True)
        except msgspec.ValidationError:
            mistakes += (
                mistake(one.path, one.words, one.spot) for one in faults(value, _FIELDS[key].type, key)
            )
    if "share" in values and "steps" in values:
        mistakes.append(mistake("share", "share stands beside steps; allowed: one of them.", Spot.VALUE))
    if name:
        values.setdefault("name", name)
    policy = Policy(**values)
    for words in policy.problems():  # of the fields that could be read, whatever is wrong with others
        field = words.partition(" ")[0]
        spot = Spot.NAME if isinstance(given.get(field), list | dict) else Spot.VALUE
        mistakes.append(mistake(field, f"{words}.", spot))
    if mistakes:
        raise InvalidPolicy(mistakes)
    return policy


def read_file(path: Path) -> Policy:
    """The policy in a file, named after it unless it says another name. Raises InvalidPolicy, OSError."""
    return read(path.read_bytes(), str(path), path.stem)


def schema() -> dict[str, Any]:
    """The JSON Schema of a policy document (draft 2020-12)."""
    made = msgspec.json.schema(Policy)
    definitions = made.pop("$defs")
    top = definitions.pop(Policy.__name__)
    for field, words in descriptions().items():
        top["properties"][field]["description"] = words
    properties = {
        _SCHEMA_KEY: {"type": "string", "description": "Where an editor finds this schema."},
        **top["properties"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rollout policy of Serinus",
        "description": top.get("description", ""),
        "type": "object",
        "properties": properties,
        "required": [],
        "additionalProperties": False,
        "not": {"required": ["share", "steps"]},
        "$defs": definitions,
    }


@cache
def descriptions() -> dict[str, str]:
    """Field -> what it means: the docstring under each field of `Policy`."""
    tree = ast.parse(inspect.getsource(definition))
    body = next(
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == Policy.__name__
    )
    found: dict[str, str] = {}
    for field, words in pairwise(body):
        match field, words:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def allowed(field: str) -> str:
    """The values that a field may have, in words."""
    return words_of(_FIELDS[field].type)


def _compose(data: bytes, file: str, places: dict[str, _Places]) -> tuple[dict[str, Any], list[Mistake]]:
    """The document's top mapping as plain values; notes the place of each value by its path."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode

    def broken(line: int, column: int, words: str) -> InvalidPolicy:
        return InvalidPolicy([Mistake(file=file, line=line, column=column, field="", words=words)])

    if len(data) > MOST_BYTES:
        raise broken(1, 1, f"the document is longer than {MOST_BYTES >> 10} KiB.")
    try:
        text = data.decode("utf-8-sig")
        # The pure reader: it keeps marks for every node and executes no tag.
        node: Node | None = YAML(typ="safe", pure=True).compose(io.StringIO(text))
    except UnicodeDecodeError as error:
        raise broken(1, 1, "the document is not UTF-8.") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise broken(line, column, f"no YAML or JSON: {error.problem or error.context}.") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise broken(1, 1, f"no YAML or JSON: {str(error).splitlines()[0]}.") from error
    if not isinstance(node, MappingNode):
        raise broken(1, 1, "a policy is a mapping of fields, such as `share: 0.25`.")
    reader = _Reader(file, places)
    value = reader.mapping(node, "", 0)
    return value, reader.mistakes


class _Reader:
    """Nodes to plain values."""

    def __init__(self, file: str, places: dict[str, _Places]) -> None:
        self._file = file
        self._places = places
        self._told: set[int] = set()
        self.mistakes: list[Mistake] = []

    def mapping(self, node: "MappingNode", path: str, depth: int) -> dict[str, Any]:
        """Keys as text to values; `UNREAD` in place of what is told already."""
        from ruamel.yaml.nodes import ScalarNode

        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._wrong(key_node, path, "the name of a field is a plain text, no list and no mapping.")
                continue
            key = str(key_node.value)
            if not _is_text(key):
                self._wrong(key_node, path, f"{key!r} is no text: it holds half a character.")
                continue
            at = f"{path}.{key}" if path else key
            if key in found:
                self._wrong(key_node, at, f"{key} stands here a second time.")
                continue
            self._places[at] = _Places(_place(key_node), _place(value_node))
            found[key] = self.value(value_node, at, depth + 1)
        return found

    def value(self, node: "Node", path: str, depth: int) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        if node.anchor:
            # An alias is the very node that its anchor names.
            if id(node) not in self._told:
                self._wrong(node, path, "anchors and aliases are not read.")
                self._told.add(id(node))
            return UNREAD
        if depth > _MOST_DEPTH:
            self._wrong(node, path, f"nested deeper than {_MOST_DEPTH}.")
            return UNREAD
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            items = []
            for number, one in enumerate(node.value):
                self._places[f"{path}[{number}]"] = _Places(_place(one), _place(one))
                items.append(self.value(one, f"{path}[{number}]", depth + 1))
            return items
        return self._scalar(node, path)

    def _scalar(self, node: "Node", path: str) -> Any:
        tag, text = str(node.tag).rpartition(":")[2], str(node.value)
        plain = text.replace("_", "").lower()
        try:
            match tag:
                case "null":
                    return None
                case "bool":
                    return plain == "true"
                case "int":
                    return int(plain, 0)
                case "float":
                    return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
                case "str" if _is_text(text):
                    return text
        except ValueError:
            pass
        wrong = "plain value" if _is_text(text) else "text: it holds half a character"
        self._wrong(node, path, f"{text!r} is no {wrong}.")
        return UNREAD

    def _wrong(self, node: "Node", path: str, words: str) -> None:
        place = _place(node)
        self.mistakes.append(
            Mistake(file=self._file, line=place.line, column=place.column, field=path, words=words)
        )


def _is_text(text: str) -> bool:
    """Whether UTF-8 can write it: an escape such as \\ud800 is half a character."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _place(node: "Node") -> _Place:
    return _Place(node.start_mark.line + 1, node.start_mark.column + 1)
