"""The message for an invalid configuration: name, value, rule and meaning of every field that violates a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from largesse.roles import nearest

__all__ = ["refusal", "rule", "short"]

_RULES = {
    "string_type": "must be text", "int_type": "must be a whole number", "float_type": "must be a number",
    "float_parsing": "must be a number", "bool_type": "must be true or false", "tuple_type": "must be a list",
    "dict_type": "must be a table", "model_type": "must be a table", "finite_number": "must be finite",
    "greater_than": "must be > {gt:g}", "greater_than_equal": "must be >= {ge:g}", "less_than": "must be < {lt:g}",
    "less_than_equal": "must be <= {le:g}", "literal_error": "must be {expected}", "missing": "is required",
    "extra_forbidden": "unknown field", "too_short": "must have {min_length} or more items, not {actual_length}",
    "string_too_short": "must have {min_length} or more characters", "value_error": "{error}",
}  # fmt: skip
"""Type of a pydantic error → the rule, with the values of the error's context."""


Sections = Mapping[str, type[BaseModel]]
"""Section → its class."""


def refusal(error: ValidationError, raw: Mapping[str, Any], name: str, models: Sections, within: str = "") -> str:
    """Returns one line for each field that violates a rule; the branches of a union share a line.

    Args:
        error: What pydantic found.
        raw: The fields by section.
        name: Name of the whole in the message.
        models: The sections.
        within: The section that was validated; "": all of them.
    """
    by_keys: dict[tuple[str | int, ...], list[Any]] = {}
    for detail in error.errors(include_url=False):
        loc = (within, *detail["loc"]) if within else detail["loc"]
        by_keys.setdefault(_keys(loc, raw, models, missing=detail["type"] == "missing"), []).append(detail)
    # An error inside a value is more specific than an error of the value: keep only the deepest.
    deepest = [k for k in by_keys if not any(k == other[: len(k)] and k != other for other in by_keys if k)]
    lines = [_line(keys, by_keys[keys], models) for keys in deepest]
    head = f"{name}: " if len(lines) == 1 else f"{name}: {len(lines)} fields break a rule:\n  "
    return head + "\n  ".join(lines)


def rule(detail: Any) -> str:
    """Returns the rule that one error of pydantic reports."""
    template = _RULES.get(detail["type"])
    return str(detail["msg"] if template is None else template.format_map(detail.get("ctx", {}))).rstrip(".")


def _keys(loc: tuple[str | int, ...], raw: Any, models: Sections, *, missing: bool) -> tuple[str | int, ...]:
    """Returns the TOML keys of an error's location, without the names of union branches."""
    keys: list[str | int] = []
    for k, key in enumerate(loc):
        inside = (isinstance(raw, dict) and key in raw) or (isinstance(raw, list) and isinstance(key, int))
        if inside or (missing and k == len(loc) - 1) or (k == 0 and key in models):
            keys.append(key)
            raw = raw[key] if inside else {}
    return tuple(keys)


def _line(keys: tuple[str | int, ...], details: list[Any], models: Sections) -> str:
    first, dotted = details[0], "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    field = _field(keys, models)
    meaning = f" Meaning: {field.description}." if field is not None else ""
    if first["type"] == "missing":
        return f"{dotted} is missing: it is required.{meaning} Add it to [{keys[0]}]."
    if first["type"] == "extra_forbidden":
        return f"{dotted} == {short(first['input'])}: unknown key. {_known(keys, models)}"
    own = [
        detail for detail in details if detail["type"] == "value_error"
    ] or details  # our validators are most specific
    rules = list(dict.fromkeys(map(rule, own)))
    if first["type"] == "value_error" and len(keys) < 2:  # the message of a section's validator begins with the field
        return f"{dotted}.{rules[0]}" if keys else rules[0]
    return f"{dotted} == {short(first['input'])}: {', or '.join(rules)}.{meaning}"


def _field(keys: tuple[str | int, ...], models: Sections) -> FieldInfo | None:
    section = models.get(str(keys[0])) if keys else None
    return section.model_fields.get(str(keys[1])) if section is not None and len(keys) > 1 else None


def _known(keys: tuple[str | int, ...], models: Sections) -> str:
    """Returns the sections, or the keys of a section, and which of them was probably meant."""
    key = str(keys[-1])
    if len(keys) == 1:
        title, known = "The sections", list(models)
    else:
        title, known = f"The keys of [{keys[0]}]", list(models[str(keys[0])].model_fields)
    homes = [name for name, model in models.items() if key in model.model_fields and name != keys[0]]
    hint = f"It belongs in [{homes[0]}]. " if homes else nearest(key, known)
    return f"{hint}{title} are {', '.join(known)}."


def short(got: Any) -> str:
    """Returns a value as text of at most 60 characters."""
    text = repr(got)
    return text if len(text) <= 60 else text[:57] + "..."
