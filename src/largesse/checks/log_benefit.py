"""Does the log help? Compares models trained with the log and without it, on validation rows of the trial.

A difference in policy value shows only on large trials; a difference in prediction error shows on small ones too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Result

__all__ = ["Benefit", "benefit_of_the_log"]

_PAIRS = (("lightgbm", "lightgbm-rct"), ("mlp", "mlp-rct"))
_CONFIDENCE = 2.0  # standard errors


@dataclass(frozen=True, slots=True, repr=False)
class Benefit(Result):
    """The reduction of the prediction error of the value by the log.

    Attributes:
        gain: Mean squared error without the log less that with it, over the variance of the value.
        standard_error: Its standard error.
    """

    gain: float
    standard_error: float

    @property
    def harmful(self) -> bool:
        """Whether the prediction error is significantly lower without the log."""
        return self.gain < -_CONFIDENCE * self.standard_error

    @property
    def sentence(self) -> str:
        """The result in a sentence; empty where the log helps."""
        if self.harmful:
            return (
                f"The log misleads: with it, the values of trial rows are predicted worse ({-self.gain:.2%} of their variance, "
                f"standard error {self.standard_error:.2%}), so only models of the trial alone are considered."
            )
        if self.gain <= _CONFIDENCE * self.standard_error:
            return "The log is not shown to help: the values of trial rows are predicted as well without it."
        return ""


def benefit_of_the_log(hold: Logs, menus: Mapping[str, Menu]) -> Benefit | None:
    """Returns the benefit of the log, from the first pair of candidates that differ only in it; None without such a pair.

    Args:
        hold: Validation rows of the trial.
        menus: Candidate -> menu of those rows.
    """
    for both, alone in _PAIRS:
        if both in menus and alone in menus:
            weight = hold.inverse_propensity / hold.inverse_propensity.sum()
            gain = _squared_errors(hold, menus[alone]) - _squared_errors(hold, menus[both])
            mean = float(weight @ gain)
            variance = float(weight @ (hold.value - weight @ hold.value) ** 2) or 1.0
            each = hold.by_group(weight * (gain - mean))
            standard_error = float(np.sqrt(each @ each))
            return Benefit(mean / variance, standard_error / variance)
    return None


def _squared_errors(hold: Logs, menu: Menu) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = (hold.value - menu.value[np.arange(hold.n), hold.treatment]) ** 2
    return squares
