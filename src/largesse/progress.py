"""How a long task tells its caller how far it is: a function that is called with a stage and the share of the work done.

>>> def say(stage: str, done: float) -> None:
...     print(f"{done:4.0%} {stage}")
>>> say("learning lightgbm", 0.25)
 25% learning lightgbm
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Note", "Say", "silent"]

Say = Callable[[str, float], None]
"""Called with the name of a stage, or a `Note`, and the share of the work that is done, in [0, 1]."""


class Note(str):
    """A stage that tells a result: it is worth keeping on the screen."""

    __slots__ = ()


def silent(stage: str, done: float) -> None:
    """Tells nobody."""
