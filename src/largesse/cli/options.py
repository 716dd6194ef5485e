"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigFile", "IdColumn", "Json", "Keep", "RunFolder", "listed"]

ConfigFile = Annotated[Path, typer.Argument(help="The campaign's TOML file; `largesse init` writes one.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder made by `largesse fit`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
IdColumn = Annotated[
    str | None, typer.Option("--id", help="Column of the units' ids; columns.unit of the run if left out.")
]
Keep = Annotated[str, typer.Option(help="Further columns that the output has too, separated by commas.")]


def listed(text: str) -> tuple[str, ...]:
    """Returns the names in a text that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
