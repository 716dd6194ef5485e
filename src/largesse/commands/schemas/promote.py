"""The document of `promote`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from largesse.commands.schemas.shared import Object

__all__ = ["Promote"]


class Evidence(Object):
    verdict: Literal["better", "worse", "unclear"] = Field(description="what the interval shows, beyond the margin")
    difference: float | None = Field(
        description="challenger less champion, value per unit at equal spend; null: no estimate yet"
    )
    low: float | None = Field(description="lower end of its interval on all days together; null: none yet")
    high: float | None = Field(description="upper end")
    champion: float | None = Field(description="value per unit of the champion; null: no estimate yet")
    informative: int = Field(description="decisions whose treatment only one of the two gives")
    decisions: int = Field(description="matured decisions since the trial of the challenger began")
    most: float = Field(description="largest share of the units that the challenger may decide")


class Line(Object):
    time: str = Field(description="when (UTC)")
    field: str = Field(description="what changed: a term of the campaign, run, challenger, erasure")
    before: Any = Field(description="what it was; null: there was none")
    after: Any = Field(description="what it is since, and why")


class Promote(Object):
    campaign: str = Field("", description="name of the campaign; this and what follows without --history")
    champion: str = Field("", description="version of the run that decided")
    challenger: str = Field("", description="version of the run that is tried")
    action: Literal["", "promoted", "ended", "raised", "waiting"] = Field("", description="what was done")
    sentence: str = Field("", description="why")
    share_before: float = Field(0.0, description="share of the units that the challenger decided")
    share_after: float = Field(0.0, description="share from now on; 1 if it is promoted")
    evidence: Evidence | None = Field(None, description="what is known of the two")
    done: bool = Field(False, description="false with --dry-run")
    changes: list[Line] = Field([], description="with --history: the journal of the campaign, oldest first")
