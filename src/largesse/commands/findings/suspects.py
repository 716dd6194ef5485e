"""Features that may be measured after the treatment: those that differ between arms, depend on the arm, or are named so."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse.checks.finding import P_FAIL, Finding, Grade
from largesse.checks.post_treatment import arm_dependence
from largesse.checks.randomisation import Balance
from largesse.checks.soundness import Soundness
from largesse.commands.load import Rows

__all__ = ["PostTreatment", "named_after", "suspects"]

_AFTER = re.compile(
    r"(^|[^a-z])(after|post|redeem(ed)?|redemptions?|used|usage|clicks?|clicked|opened|opens|converted|conversions?|responded"
    r"|responses?|purchased|refund(ed)?|follow_?up|outcomes?|delivered|exposed)([^a-z]|$)"
)
_BEFORE = re.compile(
    r"(^|[^a-z])(before|pre|prior|past|previous|prev|last|hist(ory)?|historical|old|avg|since)([^a-z]|$)"
)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class PostTreatment(Finding):
    """Features that may be measured after the treatment.

    Attributes:
        suspects: Each feature with the reason.
    """

    suspects: tuple[tuple[str, str], ...]


def named_after(name: str) -> bool:
    """Returns whether a column's name suggests that it was measured after the treatment.

    >>> [named_after(name) for name in ("coupon_redeemed", "ordersAfter", "clicks_before", "posts", "age")]
    [True, True, False, False, False]
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()
    return _AFTER.search(words) is not None and _BEFORE.search(words) is None


def suspects(rows: Rows, sound: Soundness) -> PostTreatment:
    """Returns the features that may be measured after the treatment, from the checks of the trial and its rows."""
    balance = sound["balance"]
    assert isinstance(balance, Balance)
    dependence = arm_dependence(rows.rct)
    at, out = 0, []
    for column in rows.encoder.columns:
        part = slice(at, at + len(column.names))
        at = part.stop
        if column.name in rows.id_like or _numbered(rows.rct.x[:, part]):  # ids: nothing is measured
            continue
        reasons = []
        if balance.p_features[part].min() < P_FAIL:
            size = np.abs(balance.smd[:, part])
            reasons.append(f"differs between the arms by {_written(float(size.max()))} standard deviations")
        elif dependence[part].min() < P_FAIL:
            reasons.append("its distribution differs between the arms")
        if named_after(column.name):
            reasons.append("its name suggests it")
        if reasons:
            out.append((column.name, ", and ".join(reasons)))
    if not out:
        return PostTreatment(name="measured before the treatment", status=Grade.OK, suspects=(),
                             sentence="No feature looks as if it was measured after the treatment. Nothing to do.")  # fmt: skip
    listed = "; ".join(f"{name!r} {reason}" for name, reason in out)
    words = (
        f"May be measured after the treatment: {listed}. A policy that uses such a feature cannot be applied before it: name it "
        "in columns.ignore, unless it is known before."
    )
    return PostTreatment(name="measured before the treatment", status=Grade.WARN, sentence=words, suspects=tuple(out))


def _numbered(x: NDArray[np.float32]) -> bool:
    """Returns whether a feature is a whole number that differs in all rows, as ids are."""
    return x.shape[1] == 1 and bool((x == np.rint(x)).all()) and len(np.unique(x)) == len(x)


def _written(size: float) -> str:
    return f"{size:.2f}" if np.isfinite(size) else "infinitely many"
