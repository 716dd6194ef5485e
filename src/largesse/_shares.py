"""How the propensities of a trial are given: a rule, shares or weights by arm, or one by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from largesse import _check

__all__ = ["Assignment", "assignment_of", "propensities_by_row", "shares_of"]

Assignment = Literal["uniform", "shares", "observed", "rows", "unknown"]


def assignment_of(given: Any, design: str) -> Assignment:
    """Returns how propensities were given."""
    if given is None:
        return "observed" if design == "rct" else "unknown"
    if isinstance(given, str):
        return _check.choice("propensity", given, ("uniform", "observed"))  # type: ignore[return-value]
    return "shares" if isinstance(given, Mapping) else "rows"


def shares_of(given: Mapping[str, float], treatments: tuple[str, ...]) -> NDArray[np.float64]:
    """Returns the share of each treatment, (M,), from shares or weights by name."""
    missing = [name for name in treatments if name not in given]
    if missing or len(given) != len(treatments):
        rule = f"needs one share for each of {treatments}"
        raise _check.refuse("propensity", dict(given), rule, "Name every arm once.")
    shares = np.array([_check.number(f"propensity[{name!r}]", given[name], low=0, high=1e9) for name in treatments])
    weights = bool((shares % 1 == 0).all())
    if (shares <= 0).any() or not (weights or abs(shares.sum() - 1) <= 1e-6):
        rule = "shares must be > 0 and sum to 1, weights must be whole numbers"
        raise _check.refuse(
            "propensity", dict(given), rule, "Give the planned shares of the trial, or weights such as 5, 1, 1."
        )
    return np.asarray(shares / shares.sum()) if weights else shares


def propensities_by_row(given: Any, treatment: NDArray[np.int32], m: int, design: str) -> NDArray[np.float64]:
    """Returns the probability of the treatment that each row got, (N,), in (0, 1], and constant by arm in a trial."""
    p = _check.array("propensity", given, ndim=1, dtype=np.float64)
    _check.lengths(treatment=treatment, propensity=p)
    bad = ~((p > 0) & (p <= 1))
    if bad.any():
        raise _check.refuse_cells(
            "propensity", p, bad, "must be in (0, 1]", "It is the probability of the treatment taken."
        )
    if design == "rct":
        first = np.array([p[np.argmax(treatment == j)] for j in range(m)])
        differs = np.abs(p - first[treatment]) > 1e-9
        if differs.any():
            raise _check.refuse_cells(
                "propensity", p, differs, "must be constant by arm, since design is 'rct'",
                "If the probabilities depend on the unit, set `design='obs'` and keep this column: it is used as given.",
            )  # fmt: skip
    return p
