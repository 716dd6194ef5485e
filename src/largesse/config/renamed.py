"""Earlier names of fields, which older files and run folders have."""

from __future__ import annotations

from typing import Any

__all__ = ["renamed"]


def renamed(given: Any, old: str, new: str) -> Any:
    """Returns the fields of a section with an earlier name replaced by the one of today.

    >>> renamed({"per_head": [0.5], "safety": 0.9}, "per_head", "per_unit")
    {'safety': 0.9, 'per_unit': [0.5]}
    """
    if not isinstance(given, dict) or old not in given:
        return given
    if new in given:
        raise ValueError(f"{old} is the earlier name of {new}, and both are given: leave {old} out")
    return {**{name: part for name, part in given.items() if name != old}, new: given[old]}
