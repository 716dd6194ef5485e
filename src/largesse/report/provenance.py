"""How results were made, for the last section of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

from largesse._arguments import checked

__all__ = ["Provenance"]


@checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How the results were made.

    Attributes:
        model: The model in one sentence.
        outcome: The model of value and cost in one sentence.
        config: The resolved configuration, TOML.
        seed: The seed of the run.
        versions: Package and version.
        rows: Purpose and number of rows.
        seconds: Run time.
        made: Date and time.
    """

    model: str = ""
    outcome: str = ""
    config: str = ""
    seed: int | None = None
    versions: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    rows: Mapping[str, int] | tuple[tuple[str, int], ...] = ()
    seconds: float = nan
    made: str = ""

    def __post_init__(self) -> None:
        for name in ("versions", "rows"):
            got = getattr(self, name)
            pairs = got.items() if isinstance(got, Mapping) else got
            object.__setattr__(self, name, tuple((k, v) for k, v in pairs))
