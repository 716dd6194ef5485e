"""The document of `update`."""

from __future__ import annotations

from pydantic import Field

from largesse.commands.schemas.shared import Object, PolicyAtBudget

__all__ = ["Update"]


class Update(Object):
    folder: str = Field(description="the run folder of the challenger")
    old_rows: int = Field(description="rows of the champion's trial, all of them learned from")
    served_rows: int = Field(description="matured decisions that it learned from")
    judge_rows: int = Field(description="matured decisions that judge it")
    sentence: str = Field(description="what it brings beside the champion, or why nothing is shown")
    better: bool = Field(description="whether it is shown to bring more at a budget, and less at none")
    rows: list[PolicyAtBudget] = Field(description="one for each policy and budget; differences from the champion")
