"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigFile", "Json", "RunFolder"]

ConfigFile = Annotated[Path, typer.Argument(help="The campaign's TOML file; `largesse init` writes one.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder made by `largesse fit`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
