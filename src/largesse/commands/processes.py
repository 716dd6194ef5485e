"""The processes that share the work of `fit`, `tune` and `demo`. Imported before all else: they start while this one imports."""

from __future__ import annotations

from largesse import _check
from largesse._workers import Workers, cores
from largesse.config import Config

__all__ = ["LEARNING", "PAST_DATA", "begin", "threads_of"]

LEARNING = ("largesse.models.two_stage.lightgbm", "largesse.evaluate.comparison")
PAST_DATA = ("largesse.checks.past_policy",)


def threads_of(config: Config) -> int:
    """Returns the number of processor cores that a run uses."""
    return cores() if config.run.threads is None else _check.threads(config.run.threads)


def begin(config: Config | None = None) -> None:
    """Starts the processes, which import what every campaign needs; None stands for a campaign with past data."""
    past = PAST_DATA if config is None or config.data.obs is not None else ()
    Workers(cores() if config is None else threads_of(config), LEARNING + past)
