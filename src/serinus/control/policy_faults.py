"""What is wrong inside a field of a policy: each mistake with its path, such as `class_gates[1].margin`."""

import difflib
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

import msgspec

from serinus.rollout.allowed import words_of

UNREAD: Final = object()
"""In place of a value that could not be read, which is told already."""


class Spot(Enum):
    """Which part of a field is wrong."""

    NAME = auto()
    VALUE = auto()


class Fault(NamedTuple):
    path: str
    words: str
    spot: Spot = Spot.VALUE


def faults(value: Any, kind: Any, path: str) -> Iterator[Fault]:
    """What keeps plain values (of YAML or JSON) from being of the type `kind`."""
    if value is UNREAD:
        return
    structs = _structs(kind)
    if isinstance(value, dict) and structs:
        yield from _of_mapping(value, structs, path)
    elif isinstance(value, list) and get_origin(kind) is tuple:
        for number, one in enumerate(value):
            yield from faults(one, get_args(kind)[0], f"{path}[{number}]")
    elif not _fits(value, kind) and _read(value):
        shown = value if isinstance(value, int | float | str | bool) else msgspec.json.encode(value).decode()
        yield Fault(path, f"{path} is {shown}; allowed: {words_of(kind)}.")


def no_field(of: str, name: str, known: Sequence[str]) -> str:
    """The words for a name that is no field; `of`: the path of what it stands in, empty at the top."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}."
    return f"{of} has no field {name!r}; {hint}" if of else f"there is no field {name!r}; {hint}"


def _of_mapping(value: dict[str, Any], structs: Sequence[type[msgspec.Struct]], path: str) -> Iterator[Fault]:
    tag = structs[0].__struct_config__.tag_field
    tags = {str(one.__struct_config__.tag): one for one in structs}
    struct: type[msgspec.Struct] | None = structs[0]
    if tag is not None:
        if tag not in value:
            yield Fault(path, f"{path} lacks the field {tag}; allowed: {', '.join(tags)}.")
        elif value[tag] is not UNREAD and str(value[tag]) not in tags:
            yield Fault(f"{path}.{tag}", f"{path}.{tag} is {value[tag]}; allowed: {', '.join(tags)}.")
        struct = tags.get(str(value.get(tag)))
    # Without a tag nobody knows which of them is meant; what one of them has is no mistake then.
    fields = {one.encode_name: one for known in structs for one in msgspec.structs.fields(known)}
    if struct is not None:
        fields = {one.encode_name: one for one in msgspec.structs.fields(struct)}
    known = [*([tag] if tag else []), *fields]
    for name, one in value.items():
        if name not in known:
            yield Fault(f"{path}.{name}", no_field(path, name, known), Spot.NAME)
        elif name in fields and struct is not None:
            yield from faults(one, fields[name].type, f"{path}.{name}")
    if struct is not None:
        for name, field in fields.items():
            if field.required and name not in value:
                yield Fault(path, f"{path} lacks the field {name}; allowed: {words_of(field.type)}.")


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return [one for one in kinds if isinstance(one, type) and issubclass(one, msgspec.Struct)]


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _read(value: Any) -> bool:
    """Whether all of it could be read."""
    match value:
        case list():
            return all(map(_read, value))
        case dict():
            return all(map(_read, value.values()))
    return value is not UNREAD
