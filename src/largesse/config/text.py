"""Reading and writing of configurations as TOML: `load`, `parse`, `template`, `dump`."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from largesse._arguments import checked
from largesse.config.refusal import refusal
from largesse.config.schema import SHOWN, Config, sections
from largesse.errors import ConfigError

__all__ = ["dump", "fields", "load", "parse", "read", "template", "toml_of"]

_LARGEST, _DEEPEST = 1 << 24, 20  # bytes; levels of tables and lists


@checked
def load(path: str | Path) -> Config:
    """Returns the configuration in a TOML file; relative paths start at the folder of that file.

    Raises:
        ConfigError: The file is missing or not TOML, or fields violate a rule; the message names all of them, with value, rule
            and meaning.
    """
    path = Path(path)
    return parse(read(path), folder=path.parent, name=str(path))


def read(path: Path) -> str:
    """Returns the text of a configuration, without a byte order mark.

    Raises:
        ConfigError: There is no such file, it is larger than any configuration, or not UTF-8.
    """
    remedy = "Check the name, or start from a template."
    if not os.path.isfile(path):  # a folder, or a pipe, which need not end
        what = "is no file" if os.path.exists(path) else "there is no such file"
        raise ConfigError(f"{path}: cannot be read ({what}). {remedy}")
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path}: cannot be read (it has more than {_LARGEST:,} bytes). {remedy}")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read ({reason}). {remedy}") from error


def fields(text: str, name: str) -> dict[str, Any]:
    """Returns the fields of a TOML text.

    Raises:
        ConfigError: It is not TOML.
    """
    why = "lists or tables are nested too deeply"
    try:
        raw = tomllib.loads(text)
        if _depth(raw) <= _DEEPEST:
            return raw
    except RecursionError:
        pass
    except ValueError as error:  # not TOML, or a number of thousands of digits
        why = str(error).removesuffix("; use sys.set_int_max_str_digits() to increase the limit")
    raise ConfigError(f"{name}: is not TOML ({why}). Write text in quotes and sections in [brackets].")


@checked
def parse(text: str, *, folder: str | Path = ".", name: str = "configuration") -> Config:
    """Returns the configuration in a TOML text.

    Args:
        text: The TOML.
        folder: Folder at which relative paths start.
        name: Name of the text in error messages.

    Raises:
        ConfigError: As for `load`.
    """
    raw = fields(text, name)
    try:
        return Config.model_validate(raw, context={"folder": Path(folder)})
    except ValidationError as error:
        raise ConfigError(refusal(error, raw, name, sections())) from None


def _depth(raw: Any) -> int:
    """Returns how deeply tables and lists are nested; no recursion, since dotted keys nest without limit."""
    level, depth = [raw], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        level, depth = [child for one in level for child in (one.values() if isinstance(one, dict) else one)], depth + 1
    return depth


@checked
def template(path_hint: str | Path | None = None) -> str:
    """Returns a TOML text with every field, its meaning and its default; required fields have an example.

    Args:
        path_hint: Path of the trial's file to write into the text.
    """
    lines = ["# A campaign. Relative paths start at the folder of this file. A line '# name = ...' is optional."]
    for section, model in sections().items():
        lines += ["", f"[{section}]", *(f"# {line}" for line in (model.__doc__ or "").splitlines())]
        for name, field in model.model_fields.items():
            hint = path_hint if (section, name) == ("data", "rct") else None
            entry = _example(name, field) if hint is None else f"{name} = {toml_of(Path(hint))}"
            lines += ["", f"# {field.description}{' (required)' if field.is_required() else ''}", entry]
    return "\n".join(lines) + "\n"


@checked
def dump(config: Config) -> str:
    """Returns the TOML text of a configuration, which `parse` turns into an equal one. Fields that are None are left out."""
    lines: list[str] = []
    for section in sections():
        fields = {name: value for name, value in getattr(config, section) if value is not None}
        lines += [f"[{section}]", *(f"{name} = {toml_of(value)}" for name, value in fields.items()), ""]
    return "\n".join(lines)


def _example(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=False)
    if (field.is_required() or default is None or default == {}) and field.examples:
        shown = field.is_required() or field.json_schema_extra == SHOWN
        return f"{'' if shown else '# '}{name} = {toml_of(field.examples[0])}"
    return f"{name} = {toml_of(default)}"


def toml_of(value: Any) -> str:
    """Returns one value as TOML. A JSON string is a valid TOML string, except for the delete character."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_of(str(key))} = {toml_of(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_of(entry) for entry in value) + "]"
    text = value.as_posix() if isinstance(value, Path) else value
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
