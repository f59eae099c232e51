"""The OpenAPI document as JSON, and as one page of plain HTML: no script, nothing from outside."""

import base64
import hashlib
from html import escape
from typing import Any, Final

from pydantic_core import to_json
from starlette.responses import Response

from reactorcide.api.call import Call
from reactorcide.api.errors import status_of
from reactorcide.api.openapi import ERROR_TITLES

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
details { border: 1px solid #8885; border-radius: 6px; margin: 0.5rem 0; padding: 0.4rem 0.8rem; }
summary { cursor: pointer; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 0.8rem 0.2rem 0;
  border-bottom: 1px solid #8883; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


async def document(call: Call[None, None]) -> Response:
    """Answer with the OpenAPI document."""
    return Response(to_json(call.request.app.openapi), media_type="application/json")


async def page(call: Call[None, None]) -> Response:
    """Answer with the document for people to read."""
    html = render(call.request.app.openapi)
    return Response(html, headers=_HEADERS, media_type="text/html")


def render(openapi: dict[str, Any]) -> str:
    """Return the page."""
    info = openapi["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        _schema(name, schema) for name, schema in openapi["components"]["schemas"].items()
    )
    errors = "".join(
        f'<tr id="{code}"><td>{status_of(code)}</td><td><code>{code}</code></td>'
        f"<td>{escape(title)}</td></tr>"
        for code, title in ERROR_TITLES.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>'
        f"<h2>Operations</h2>{operations}<h2>Errors</h2><table>{errors}</table>"
        f"<h2>Schemas</h2>{schemas}</body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        _row(f"{one['name']} ({one['in']})", _type_of(one["schema"]), one.get("description", ""))
        for one in operation["parameters"]
    )
    body = operation.get("requestBody", {}).get("content", {})
    asked = "".join(f"<p>Body: {_type_of(kind['schema'])}</p>" for kind in body.values())
    answers = "".join(
        _row(status, _content_of(answer), answer["description"])
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>{asked}"
        f"<table>{parameters}</table><table>{answers}</table></details>"
    )


def _content_of(answer: dict[str, Any]) -> str:
    return "<br>".join(
        _type_of(kind["schema"]) or escape(media_type)
        for media_type, kind in answer.get("content", {}).items()
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        _row(field + (" *" if field in required else ""), _type_of(kind), _limits_of(kind))
        for field, kind in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{about}</p><table>{rows}</table></details>"
    )


def _row(name: str, kind: str, text: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td><td>{escape(text)}</td></tr>"


def _type_of(schema: dict[str, Any]) -> str:
    """Return a schema's type in a few words of HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    if "anyOf" in schema:
        return " or ".join(_type_of(kind) for kind in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type_of(schema.get('items', {}))}"
    return escape(schema.get("format", schema.get("type", "")))


def _limits_of(schema: dict[str, Any]) -> str:
    kinds = [schema, *schema.get("anyOf", [])]
    words = [
        f"{text} {kind[key]}"
        for kind in kinds
        for key, text in _LIMITS.items()
        if key in kind and kind[key] is not None
    ]
    return ", ".join(words)


_LIMITS: Final = {
    "default": "default",
    "minLength": "at least letters:",
    "maxLength": "at most letters:",
    "minimum": "at least",
    "maximum": "at most",
    "minItems": "at least items:",
    "maxItems": "at most items:",
    "pattern": "matches",
}
