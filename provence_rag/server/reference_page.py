"""The page at `/docs`: the API for people, from its OpenAPI schema, without scripts from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["reference_page"]

Schema = Mapping[str, Any]


def reference_page(openapi: Schema) -> str:
    """All paths with the fields of their bodies and answers, as HTML."""
    info = openapi["info"]
    parts = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(info['title'])}: API</title>",
        "<meta name=viewport content='width=device-width'>",
        "<meta name=color-scheme content='light dark'></head>",
        f"<body><main><h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('summary', ''))} <a href=openapi.json>OpenAPI schema</a></p>",
    ]
    schemas = openapi["components"]["schemas"]
    named: dict[str, None] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2>{method.upper()} {escape(path)}</h2>")
            parts += [
                f"<p>{escape(text)}</p>" for text in operation.get("description", "").split("\n\n") if text
            ]
            answer = operation["responses"]["200"].get("content", {})
            for label, content in (
                ("Request", operation.get("requestBody", {}).get("content", {})),
                ("Answer", answer),
            ):
                if schema := content.get("application/json", {}).get("schema"):
                    parts.append(f"<p>{label}: {_kind(schema)}</p>")
                    named |= dict.fromkeys(_names(schema, schemas))
    for name in named:
        parts.append(f"<h2 id={escape(name)}>{escape(name)}</h2>")
        parts.append(f"<p>{escape(schemas[name].get('description', ''))}</p>")
        parts += _table(schemas[name])
    return "\n".join([*parts, "</main></body></html>"])


def _table(schema: Schema) -> Iterator[str]:
    required = schema.get("required", [])
    yield "<table><tr><th>field<th>type<th>default<th></tr>"
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else escape(json.dumps(field.get("default")))
        text = escape(field.get("description", ""))
        yield f"<tr><td><code>{escape(name)}</code><td>{_kind(field)}<td>{default}<td>{text}</tr>"
    yield "</table>"


def _kind(schema: Schema) -> str:
    """A type, as HTML; schemas with a name are links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href=#{name}>{name}</a>"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(map(_kind, schema[key]))
    if "enum" in schema:
        return ", ".join(escape(json.dumps(value)) for value in schema["enum"])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_kind(schema['items'])}"
    return escape(str(schema.get("type", "any")))


def _names(schema: Any, schemas: Schema, known: frozenset[str] = frozenset()) -> Iterator[str]:
    """The names of all schemas that a schema consists of."""
    if isinstance(schema, Mapping):
        if isinstance(reference := schema.get("$ref"), str):
            name = reference.rpartition("/")[2]
            if name not in known:
                yield name
                yield from _names(schemas[name], schemas, known | {name})
        for value in schema.values():
            yield from _names(value, schemas, known)
    elif isinstance(schema, list):
        for value in schema:
            yield from _names(value, schemas, known)
