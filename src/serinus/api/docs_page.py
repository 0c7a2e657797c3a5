"""/docs without a browser's help from elsewhere: the OpenAPI document as one plain page. Pure."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c2128}
h2{margin-top:2em;font-size:1.1em}
code,pre{font-family:ui-monospace,monospace;background:#f2f4f7;padding:.1em .3em}
pre{padding:.8em;overflow:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3em .8em .3em 0;border-bottom:1px solid #e3e6ea}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#eceff3}code,pre{background:#20262e}
td,th{border-color:#333a44}a{color:#8ab8ff}}
"""


def docs_page(api: Mapping[str, Any], examples: Mapping[str, str]) -> str:
    """HTML of an OpenAPI document. `examples`: path -> a command line that asks it."""
    title = escape(api["info"]["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
        f"<h1>{title}</h1><p>{escape(api['info'].get('summary', ''))}</p>",
        '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    for path, methods in api["paths"].items():
        for verb, operation in methods.items():
            parts += _operation(verb, path, operation, examples.get(path, ""))
    parts.append("<h1>Documents</h1>")
    for name, schema in sorted(api.get("components", {}).get("schemas", {}).items()):
        parts += _document(name, schema)
    return "\n".join(parts)


def _operation(verb: str, path: str, operation: Mapping[str, Any], example: str) -> Iterator[str]:
    yield f"<h2><code>{verb.upper()} {escape(path)}</code> {escape(operation.get('summary', ''))}</h2>"
    if example:
        yield f"<pre>{escape(example)}</pre>"
    rows = [
        (each["name"], each["in"], each.get("description", "")) for each in operation.get("parameters", [])
    ]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        members = content["schema"].get("properties", {})
        rows += [(name, "form file", each.get("description", "")) for name, each in members.items()]
    yield _table(("name", "where", "meaning"), rows)
    answers = [
        (code, _kind(_schema(each)), each["description"]) for code, each in operation["responses"].items()
    ]
    yield _table(("status", "answer", "meaning"), answers, links=True)


def _document(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2>'
    yield f"<p>{escape(schema.get('description', ''))}</p>"
    if "enum" in schema:
        yield (
            "<p>One of " + ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"]) + ".</p>"
        )
    required = schema.get("required", [])
    rows = [
        (member if member in required else f"{member} (optional)", _kind(each), each.get("description", ""))
        for member, each in schema.get("properties", {}).items()
    ]
    yield _table(("member", "type", "meaning"), rows, links=True)


def _table(heads: tuple[str, str, str], rows: list[tuple[str, str, str]], *, links: bool = False) -> str:
    """A table of escaped cells; `links`: the second cell is HTML already."""
    if not rows:
        return ""
    head = "".join(f"<th>{each}" for each in heads)
    body = "".join(
        f"<tr><td><code>{escape(one)}</code><td>{two if links else escape(two)}<td>{escape(three)}"
        for one, two, three in rows
    )
    return f"<table><tr>{head}{body}</table>"


def _schema(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((content.get("schema", {}) for content in answer.get("content", {}).values()), {})


def _kind(schema: Mapping[str, Any]) -> str:
    """The type as HTML, a document as a link."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items') or {})}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map to {_kind(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "")))
