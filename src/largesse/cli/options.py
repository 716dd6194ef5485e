"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from largesse.errors import DataError

__all__ = [
    "ConfigFile", "Csv", "IdColumn", "Json", "Keep", "NoRules", "PageFolder", "Replace", "RunFolder", "Wide", "for_program",
    "listed",
]  # fmt: skip

ConfigFile = Annotated[Path, typer.Argument(help="The campaign's TOML file; `largesse init` writes one.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder made by `largesse fit`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print the main table as CSV, with all digits, and nothing else.")]
Wide = Annotated[bool, typer.Option("--wide", help="Print tables whole, however wide the terminal is.")]
PageFolder = Annotated[
    Path | None, typer.Option("--folder", "-o", help="A folder to make with a page, report.html, of what is printed.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace an older folder of that name.")]
NoRules = Annotated[bool, typer.Option("--no-rules", help="Leave out the rules that the run was proven under.")]
IdColumn = Annotated[
    str | None, typer.Option("--id", help="Column of the units' ids; columns.unit of the run if left out.")
]
Keep = Annotated[str, typer.Option(help="Further columns that the output has too, separated by commas.")]


def listed(text: str) -> tuple[str, ...]:
    """Returns the names in a text that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def for_program(as_json: bool, as_csv: bool) -> bool:
    """Returns whether standard output is for a program; two forms at once are refused."""
    if as_json and as_csv:
        raise DataError("--json, --csv: standard output is one document or one table. Choose one of the two.")
    return as_json or as_csv
