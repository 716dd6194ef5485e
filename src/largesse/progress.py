"""Progress of long tasks: a callback that receives the name of the stage and the completed fraction of the work.

>>> def say(stage: str, done: float) -> None:
...     print(f"{done:4.0%} {stage}")
>>> say("fitting lightgbm", 0.25)
 25% fitting lightgbm
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Note", "Say", "silent"]

Say = Callable[[str, float], None]
"""Callback with the name of a stage, or a `Note`, and the completed fraction of the work, in [0, 1]."""


class Note(str):
    """A message with a result, which stays on the screen when the stage ends."""

    __slots__ = ()


def silent(stage: str, done: float) -> None:
    """Ignores the progress."""
