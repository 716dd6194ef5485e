"""The page of the HTTP service, from its OpenAPI description: every address with its bodies, answers and fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from largesse.serving.http.routes import api
from largesse.serving.http.schema import document_of

__all__ = ["endpoints"]


def endpoints() -> str:
    """Returns the addresses, then the documents, as Markdown."""
    made = document_of(api())
    lines = ["| address | what it does |", "|---|---|"]
    for path, methods in made["paths"].items():
        lines += [f"| [`{m.upper()} {path}`](#{_anchor(m, path)}) | {one['summary']} |" for m, one in methods.items()]
    for path, methods in made["paths"].items():
        for method, one in methods.items():
            lines += ["", f"## {method.upper()} {path}", "", *_address(one, made["components"]["schemas"])]
    lines += ["", "## Documents"]
    for name, schema in made["components"]["schemas"].items():
        lines += ["", f"### {name}", "", schema["description"], "", *_fields(schema)]
    return "\n".join(lines)


def _anchor(method: str, path: str) -> str:
    return f"{method}-{path}".replace("/", "").replace(":", "").replace("{", "").replace("}", "").lower()


def _address(one: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield f"{one['summary']}. {one.get('description', '')}".replace("?.", "?").strip()
    for p in one.get("parameters", ()):
        yield f"\n`{p['name']}` ({p['in']}): {p.get('description') or 'name of the campaign'}."
    if body := one.get("requestBody"):
        yield f"\nBody: {_kinds(body['content'])}."
        yield from _example(body["content"], schemas)
    yield "\n| status | answer |\n|---|---|"
    for status, answer in sorted(one["responses"].items()):
        kinds = _kinds(answer.get("content", {}))
        words = answer["description"].replace("Successful Response", "Done")
        yield f"| {status} | {words}{f': {kinds}' if kinds and status < '300' else ''} |"
    for status, answer in sorted(one["responses"].items()):
        if status == "200":
            yield from _example(answer.get("content", {}), schemas)


def _kinds(content: dict[str, Any]) -> str:
    named: dict[str, list[str]] = {}
    for media, about in content.items():
        named.setdefault(_kind(about.get("schema", {})), []).append(f"`{media}`")
    return "; ".join(
        f"{name} ({', '.join(several)})" if name else ", ".join(several) for name, several in named.items()
    )


def _kind(schema: dict[str, Any]) -> str:
    """Returns what a schema is, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_kind(schema.get('additionalProperties', {}))}"
    if "const" in schema:
        return f'"{schema["const"]}"'
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return words.get(schema.get("type", ""), str(schema.get("type", "")))


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    yield "| field | type | meaning |\n|---|---|---|"
    needed = schema.get("required", ())
    for name, field in schema["properties"].items():
        default = field.get("default")
        shown = "" if name in needed or default in (None, "") else f"; `{json.dumps(default)}` if left out"
        optional = "" if name in needed else ", optional"
        yield f"| `{name}` | {_kind(field)}{optional} | {field.get('description', '')}{shown} |"


def _example(content: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    schema = content.get("application/json", {}).get("schema", {})
    schema = next(iter(schema.get("anyOf", [schema])))
    several = schema.get("type") == "array"
    name = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    for example in schemas.get(name, {}).get("examples", ()):
        yield f"\n```json\n{json.dumps([example] if several else example, indent=1)}\n```"
