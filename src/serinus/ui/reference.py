"""The API page: an OpenAPI document as the few values that its template shows. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """A parameter, or a member of a document."""

    name: str
    kind: str
    link: str
    """Name of the document that it is or holds; empty for plain values."""
    note: str


class Answer(NamedTuple):
    """What an operation may answer."""

    code: str
    words: str
    link: str


class Operation(NamedTuple):
    """One method of one path."""

    verb: str
    path: str
    words: str
    fields: list[Field]
    media: str
    """Media type of the body; empty when it takes none."""
    answers: list[Answer]


class Document(NamedTuple):
    """A document that operations take or answer with."""

    name: str
    words: str
    fields: list[Field]
    values: list[str]
    """Of an enum; empty otherwise."""


def operations(api: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """All operations, grouped by tag, in the order of the document."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in api["paths"].items():
        for verb, found in methods.items():
            media, body = _body(api, found)
            fields = [_parameter(each) for each in found.get("parameters", [])]
            made = Operation(
                verb=verb,
                path=path,
                words=found.get("description") or found.get("summary", ""),
                fields=fields + body,
                media=media,
                answers=[_answer(code, each) for code, each in found["responses"].items()],
            )
            groups.setdefault(found.get("tags", ["Other"])[0], []).append(made)
    return groups


def documents(api: Mapping[str, Any]) -> list[Document]:
    """All documents, by name. The ones that only describe a form are shown with their operation."""
    found = api.get("components", {}).get("schemas", {})
    return [
        Document(name, schema.get("description", ""), _members(schema), list(schema.get("enum", [])))
        for name, schema in sorted(found.items())
        if not name.startswith("Body_")
    ]


def _parameter(given: Mapping[str, Any]) -> Field:
    kind, link = _kind(given["schema"])
    words = [given["in"], given.get("description", ""), _default(given["schema"])]
    return Field(given["name"], kind, link, "; ".join(filter(None, words)))


def _body(api: Mapping[str, Any], operation: Mapping[str, Any]) -> tuple[str, list[Field]]:
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        if "$ref" in schema:
            schema = api["components"]["schemas"][_name(schema)]
        return media, _members(schema)
    return "", []


def _members(schema: Mapping[str, Any]) -> list[Field]:
    required = schema.get("required", [])
    fields = []
    for name, member in schema.get("properties", {}).items():
        kind, link = _kind(member)
        words = ["" if name in required else "optional", member.get("description", ""), _default(member)]
        fields.append(Field(name, kind, link, "; ".join(filter(None, words))))
    return fields


def _answer(code: str, given: Mapping[str, Any]) -> Answer:
    for content in given.get("content", {}).values():
        return Answer(code, given["description"], _kind(content.get("schema", {}))[1])
    return Answer(code, given["description"], "")


def _kind(schema: Mapping[str, Any]) -> tuple[str, str]:
    """The type in words, and the document it refers to."""
    if "$ref" in schema:
        return _name(schema), _name(schema)
    if "anyOf" in schema:
        kinds = [_kind(each) for each in schema["anyOf"]]
        return " or ".join(kind for kind, _ in kinds), next((link for _, link in kinds if link), "")
    if schema.get("type") == "array":
        kind, link = _kind(schema.get("items") or {})
        return f"list of {kind}", link
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        kind, link = _kind(schema["additionalProperties"])
        return f"map to {kind}", link
    return "file" if schema.get("format") == "binary" else str(schema.get("type", "anything")), ""


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, "", [], {}) else f"default {default}"


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[-1]
