"""The OpenAPI 3.1 document, made from the table of operations. Serves nothing."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from reactorcide.api.errors import status_of
from reactorcide.api.operations import Operation
from reactorcide.api.views import ProblemView

_NAME_IN_PATH: Final = re.compile(r"\{(\w+)\}")
_REF: Final = "#/components/schemas/{model}"
_PROBLEM: Final = "application/problem+json"
_ABOUT: Final = (
    "An event-sourced job coordinator on PostgreSQL. Every change is one immutable event; "
    "what is shown is a fold of them. Errors are RFC 9457 problem details with a stable `error`."
)

ERROR_TITLES: Final[Mapping[str, str]] = {
    "malformed_request": "Not JSON, or a header that cannot be read",
    "unauthorized": "No token, or one that does not hold",
    "forbidden": "The caller lacks the role or scope",
    "not_found": "Unknown, no UUID, or somebody else's",
    "method_not_allowed": "The path exists; `Allow` lists its methods",
    "request_timeout": "The request did not arrive in time: head 10 s, body 30 s",
    "conflict": "Not legal in the present state, which `current_status` names",
    "precondition_failed": "`If-Match` names another version than the present one",
    "too_large": "The body is over 1 MiB",
    "unsupported_media_type": "The body is not JSON by its own account",
    "range_not_satisfiable": "The range begins behind the end",
    "invalid_input": "Well-formed input that breaks a rule; `errors` points at it",
    "precondition_required": "`If-Match` is missing",
    "rate_limited": "Too many requests; `Retry-After` says when to come back",
    "internal_error": "A defect of ours; the request id finds it in our log",
    "unavailable": "The database, or the object store, cannot be used just now",
}

_HEADER_LIMITS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Idempotency-Key": {"minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """Return the document."""
    rows = tuple(operations)
    schemas, definitions = _schemas(rows)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas, definitions)
    return {
        "openapi": "3.1.0",
        "info": {"title": "reactorcide", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(row.tag for row in rows)],
    }


def errors_of(row: Operation) -> dict[int, list[str]]:
    """Return the error codes that an operation may answer with, by status."""
    codes = ["unavailable", *row.errors]
    if not row.is_public:
        codes += ["unauthorized", "rate_limited", "invalid_input"]
    if row.scopes or row.name == "issueToken":
        codes.append("forbidden")
    if "{" in row.path:
        codes.append("not_found")
    if row.body is not None:
        codes += ["malformed_request", "request_timeout", "too_large", "unsupported_media_type"]
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(status_of(code), []).append(code)
    return found


def _schemas(rows: Iterable[Operation]) -> tuple[dict[object, dict[str, Any]], dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
        (ProblemView, "serialization"): None
    }
    for row in rows:
        for model in (row.body, row.query):
            if model is not None:
                wanted[model, "validation"] = None
        if row.answer is not None:
            wanted[row.answer, "serialization"] = None
    found, definitions = models_json_schema(list(wanted), ref_template=_REF)
    return {model: schema for (model, _), schema in found.items()}, definitions["$defs"]


def _operation(
    row: Operation,
    schemas: Mapping[object, dict[str, Any]],
    definitions: Mapping[str, Any],
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.tag],
        "parameters": _parameters(row, definitions),
        "responses": _responses(row, schemas),
        "security": [] if row.is_public else [{"token": []}],
    }
    if row.scopes:
        operation["description"] = f"Needs the scope {' or '.join(row.scopes)}."
    if row.body is not None:
        operation["requestBody"] = {
            "required": not row.body_is_optional,
            "content": {"application/json": {"schema": schemas[row.body]}},
        }
    return operation


def _parameters(row: Operation, definitions: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in _NAME_IN_PATH.findall(row.path):
        schema = {"type": "string"} | ({"format": "uuid"} if name.endswith("_id") else {})
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if row.query is not None:
        for name, schema in definitions[row.query.__name__]["properties"].items():
            found.append(_query_parameter(name, schema))
    for name, text in (row.headers or {}).items():
        shape = {"type": "string", **_HEADER_LIMITS.get(name, {})}
        found.append({"name": name, "in": "header", "description": text, "schema": shape})
    return found


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name == "label":
        name, text = "label.{name}", "The label's value; may be given for several names."
        return {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    shape = kinds[0] if kinds else {key: schema[key] for key in schema if key != "title"}
    return {"name": name, "in": "query", "schema": shape}


def _responses(row: Operation, schemas: Mapping[object, dict[str, Any]]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": row.summary}
    if row.status != HTTPStatus.NO_CONTENT:
        good["content"] = {media_type: {"schema": {}} for media_type in row.media_types}
    if row.answer is not None:
        good["content"] |= {"application/json": {"schema": schemas[row.answer]}}
    responses = {str(int(row.status)): good}
    for status, text in (row.also or {}).items():
        other = {"description": text}
        responses[str(int(status))] = (
            other if status == HTTPStatus.NOT_MODIFIED else {**good, "description": text}
        )
    for status, codes in sorted(errors_of(row).items()):
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {ERROR_TITLES[code]}" for code in codes),
            "content": {_PROBLEM: {"schema": {"$ref": _REF.format(model="ProblemView")}}},
        }
    return responses
