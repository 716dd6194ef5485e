"""What a refused configuration is told: field, value got, rule, meaning, in words of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from largesse.config.schema import Config, sections
from largesse.roles import nearest

__all__ = ["refusal"]

_WORDS = {
    "Input should be": "must be", "Input should": "must", "Tuple should": "must", "String should": "must",
    "Dictionary should": "must", "Value error, ": "", "a valid string": "text", "a valid integer": "a whole number",
    "a valid number": "a number", "a valid boolean": "true or false", "a valid tuple": "a list",
    "a finite number": "finite", " after validation": "",
    "a valid dictionary": "a table", "greater than or equal to": ">=",
    "less than or equal to": "<=", "greater than": ">", "less than": "<",
}  # fmt: skip


def refusal(error: ValidationError, raw: Mapping[str, Any], name: str) -> str:
    """Returns one line for each field that breaks a rule; the branches of a union share a line."""
    found: dict[tuple[str | int, ...], list[Any]] = {}
    for one in error.errors(include_url=False):
        found.setdefault(_place(one["loc"], raw, missing=one["type"] == "missing"), []).append(one)
    # What is wrong inside a value tells more than that the whole value is wrong.
    deepest = {at: ones for at, ones in found.items() if not any(at == o[: len(at)] and at != o for o in found if at)}
    lines = [_line(at, ones) for at, ones in deepest.items()]
    head = f"{name}: " if len(lines) == 1 else f"{name}: {len(lines)} fields break a rule:\n  "
    return head + "\n  ".join(lines)


def _place(loc: tuple[str | int, ...], raw: Any, *, missing: bool) -> tuple[str | int, ...]:
    """Returns the keys of the TOML on the way to an error; the names of union branches are left out."""
    at: list[str | int] = []
    for k, key in enumerate(loc):
        inside = (isinstance(raw, dict) and key in raw) or (isinstance(raw, list) and isinstance(key, int))
        if inside or (missing and k == len(loc) - 1) or (k == 0 and key in Config.model_fields):
            at.append(key)
            raw = raw[key] if inside else {}
    return tuple(at)


def _line(at: tuple[str | int, ...], ones: list[Any]) -> str:
    first, dotted = ones[0], "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).lstrip(".")
    field = _field(at)
    meaning = f" Meaning: {field.description}." if field is not None else ""
    if first["type"] == "missing":
        return f"{dotted} is missing: it is required.{meaning} Add it to [{at[0]}]."
    if first["type"] == "extra_forbidden":
        return f"{dotted} == {_short(first['input'])}: unknown key. {_known(at)}"
    told = [one for one in ones if one["type"] == "value_error"] or ones
    rules = list(dict.fromkeys(_worded(one["msg"]) for one in told))
    if first["type"] == "value_error" and len(at) < 2:
        return f"{dotted}.{rules[0]}" if at else rules[0]
    return f"{dotted} == {_short(first['input'])}: {', or '.join(rules)}.{meaning}"


def _field(at: tuple[str | int, ...]) -> FieldInfo | None:
    section = sections().get(str(at[0])) if at else None
    return section.model_fields.get(str(at[1])) if section is not None and len(at) > 1 else None


def _known(at: tuple[str | int, ...]) -> str:
    key, models = str(at[-1]), sections()
    if len(at) == 1:
        homes = [section for section, model in models.items() if key in model.model_fields]
        hint = f"It belongs in [{homes[0]}]. " if homes else nearest(key, list(models))
        return f"{hint}The sections are {', '.join(models)}."
    homes = [section for section, model in models.items() if key in model.model_fields and section != at[0]]
    known = list(models[str(at[0])].model_fields)
    hint = f"It belongs in [{homes[0]}]. " if homes else nearest(key, known)
    return f"{hint}The keys of [{at[0]}] are {', '.join(known)}."


def _short(got: Any) -> str:
    text = repr(got)
    return text if len(text) <= 60 else text[:57] + "..."


def _worded(message: str) -> str:
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return re.sub(r" or instance of \w+", "", message).rstrip(".")
