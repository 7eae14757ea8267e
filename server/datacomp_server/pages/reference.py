"""`/api/docs`: a reference of the API, written by the server from the OpenAPI document, without any script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from datacomp_server.pages.contexts import Page
from datacomp_server.pages.web import PageViewer, answer, site_for

router = APIRouter(include_in_schema=False)
METHODS = ("get", "post", "put", "delete", "patch")


@dataclass(frozen=True)
class Parameter:
    """A parameter of the path, the query or a header."""

    name: str
    place: str
    kind: str
    required: bool


@dataclass(frozen=True)
class Answer:
    """What an endpoint may answer with."""

    status: str
    description: str
    body: str


@dataclass(frozen=True)
class Operation:
    """One endpoint."""

    anchor: str
    method: str
    path: str
    summary: str
    signed_in: bool
    """Whether it looks at who is asking."""
    parameters: list[Parameter]
    body: str
    answers: list[Answer]


@dataclass(frozen=True)
class Section:
    """Endpoints of one tag."""

    name: str
    description: str
    operations: list[Operation]


@dataclass(frozen=True)
class Field:
    """A field of a message."""

    name: str
    kind: str
    required: bool


@dataclass(frozen=True)
class Schema:
    """A message."""

    name: str
    description: str
    fields: list[Field]
    values: list[str]
    """Of an enumeration."""


@dataclass(frozen=True, kw_only=True)
class ReferencePage(Page):
    """`reference.html`: all endpoints and messages."""

    template: ClassVar[str] = "reference.html"
    title: str
    version: str
    description: list[str]
    """Paragraphs."""
    sections: list[Section]
    schemas: list[Schema]


@router.get("/api/docs")
def reference(request: Request, viewer: PageViewer) -> Response:
    """The reference."""
    document: dict[str, Any] = request.app.openapi()
    info = document["info"]
    page = ReferencePage(
        site=site_for(request, viewer),
        title=info["title"],
        version=info["version"],
        description=[text.replace("\n", " ") for text in info["description"].strip().split("\n\n")],
        sections=sections(document),
        schemas=schemas(document),
    )
    return answer(request, page)


def sections(document: dict[str, Any]) -> list[Section]:
    """The endpoints of an OpenAPI document by tag, in the order of its tags."""
    by_tag: dict[str, list[Operation]] = {tag["name"]: [] for tag in document.get("tags", [])}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                tag = item[method].get("tags", ["other"])[0]
                by_tag.setdefault(tag, []).append(_operation(method, path, item[method]))
    described = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    return [Section(tag, described.get(tag, ""), found) for tag, found in by_tag.items() if found]


def schemas(document: dict[str, Any]) -> list[Schema]:
    """The messages of an OpenAPI document, by name."""
    found = document.get("components", {}).get("schemas", {})
    return [_schema(name, found[name]) for name in sorted(found)]


def kind_of(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words: `integer`, `list of RunOut`, `string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    choices = [kind_of(part) for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, [])]
    choices += [repr(value) for value in schema.get("enum", [])] + (
        [repr(schema["const"])] if "const" in schema else []
    )
    if choices:
        return " or ".join(dict.fromkeys(choices))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind_of(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type") or "anything")


def _operation(method: str, path: str, operation: dict[str, Any]) -> Operation:
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("description", operation.get("summary", "")),
        signed_in="security" in operation,
        parameters=[
            Parameter(item["name"], item["in"], kind_of(item["schema"]), item.get("required", False))
            for item in operation.get("parameters", [])
        ],
        body=_content(operation.get("requestBody", {})),
        answers=[
            Answer(status, found.get("description", ""), _content(found))
            for status, found in sorted(operation["responses"].items())
        ],
    )


def _content(holder: dict[str, Any]) -> str:
    """Media type and message of a body; empty where there is none."""
    for media, found in holder.get("content", {}).items():
        schema = kind_of(found.get("schema", {}))
        return media if schema == "anything" else schema if media == "application/json" else f"{media}: {schema}"
    return ""


def _schema(name: str, schema: dict[str, Any]) -> Schema:
    required = set(schema.get("required", []))
    return Schema(
        name=name,
        description=schema.get("description", ""),
        fields=[Field(key, kind_of(found), key in required) for key, found in schema.get("properties", {}).items()],
        values=[str(value) for value in schema.get("enum", [])],
    )
