"""Results in a notebook: a table, and the chart that the report has for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from largesse._check import written
from largesse.evaluate.comparison import BASELINES, Comparison
from largesse.evaluate.curve import OutcomeCurve
from largesse.experiment.estimators.effect import METHODS
from largesse.experiment.measurement import Measurement
from largesse.logs import Logs
from largesse.menu import Plan, PlanTotals
from largesse.policy.curve import PriceCurve
from largesse.policy.deployed import Allocation
from largesse.policy.safety import LEVEL
from largesse.report.content import CurveLine, Headline, MixTable, Results
from largesse.report.numbers import count, interval, number, percent
from largesse.result import html_table

__all__ = ["html"]

_CURVE = 60  # budgets along an outcome curve
_FEATURES = 20  # names of features
_ARMS = 20  # treatments in a table or a picture


def html(result: Any) -> str:
    """Returns a result as HTML: its table, and its picture where the report has a chart for it; labels are escaped."""
    return next(show for kind, show in _SHOWN.items() if isinstance(result, kind))(result)


def _logs(logs: Logs) -> str:
    w, t, m = logs.weights, logs.treatment, logs.n_treatments
    rows, total = logs.arm_rows, np.bincount(t, w, m)
    sums = (np.bincount(t, w * cells, m) for cells in (logs.value, logs.cost))
    value, cost = (np.divide(s, total, out=np.full(m, np.nan), where=total > 0) for s in sums)
    body = [
        [name, count(rows[j]), percent(rows[j] / logs.n), _mean(value[j]), _mean(cost[j])]
        for j, name in enumerate(logs.treatments)
    ]
    kind = "a randomised trial" if logs.design == "rct" else "past campaign data"
    parts = [name for name in ("unit", "cluster", "weight", "timestamp") if getattr(logs, name) is not None]
    many = f"{len(logs.features)} feature{'s' if len(logs.features) > 1 else ''}"
    more = f"{many}: {_some(logs.features)}." + (f" Also: {', '.join(parts)}." if parts else "")
    head = ["treatment", "rows", "share", "mean value", "mean cost"]
    return html_table(f"Logs of {count(logs.n)} rows of {kind}", head, _first(body), more)


def _mix(title: str, plan: Plan | PlanTotals, more: str) -> str:
    body = [[name, count(k), percent(k / max(plan.n, 1))] for name, k in plan.mix.items()]
    table = html_table(title, ["treatment", "units", "share"], _first(body), more)
    return table + ("" if len(body) > _ARMS else _picture("Shares of the treatments", lambda: _mix_png(plan)))


def _mix_png(plan: Plan | PlanTotals) -> bytes:
    from largesse.report import pictures

    shares = tuple((plan.counts / max(plan.n, 1)).tolist())
    return pictures.mix_png(
        MixTable(title="", labels=(f"{count(plan.n)} units",), treatments=plan.treatments, shares=(shares,))
    )


def _plan(plan: Plan | PlanTotals) -> str:
    title = (
        f"{type(plan).__name__} of {count(plan.n)} units: spend {number(plan.spend)}, value {number(plan.value)}, price "
        f"{written(plan.price, 3)}, at most {number(plan.gap)} below the optimum"
    )
    rows = "to_frame() has one row for each unit." if isinstance(plan, Plan) else ""
    return _mix(title, plan, rows)


def _allocation(given: Allocation[Any]) -> str:
    limit = "" if np.isinf(given.budget) else f", budget {number(given.budget)}"
    title = (
        f"Allocation of {count(given.n)} units: expected spend {interval(*given.spend)}{limit}; expected value "
        f"{interval(*given.value)}; price {written(given.price, 3)}"
    )
    return _mix(title, given.plan, " ".join(given.notes))


def _comparison(table: Comparison) -> str:
    def draw() -> bytes:
        from largesse.report import pictures
        from largesse.report.table import comparison_rows

        roles = {name: "baseline" if name in BASELINES else "candidate" for name in table.names} | {
            table.reference: "policy"
        }
        rows = comparison_rows(table, [f"budget {written(float(b))}" for b in table.budgets], roles)
        return pictures.budgets_png(_content(budgets=tuple(rows), reference=table.reference, level=table.level))

    return table._html() + _picture("Value at each budget", draw)


def _outcome_curve(curve: OutcomeCurve) -> str:
    spend = np.linspace(*curve.reach, _CURVE)
    line = CurveLine(name="policy", cost=tuple(spend), value=tuple(curve.value_at(spend)))
    return curve._html() + _curve_picture(line)


def _price_curve(curve: PriceCurve) -> str:
    table = curve._columns()
    rising = {name: np.asarray(table[name])[::-1] for name in ("spend", "value", "value_low", "value_high")}
    line = CurveLine(
        name="policy", cost=tuple(rising["spend"]), value=tuple(rising["value"]), low=tuple(rising["value_low"]),
        high=tuple(rising["value_high"]),
    )  # fmt: skip
    return curve._html() + _curve_picture(line, level=2 * LEVEL - 1)  # each end holds with LEVEL


def _curve_picture(line: CurveLine, level: float = LEVEL) -> str:
    def draw() -> bytes:
        from largesse.report import pictures

        return pictures.cost_curve_png(_content(curves=(line,), level=level))

    return _picture("Value against spend, per unit", draw)


def _measurement(result: Measurement) -> str:
    def draw() -> bytes:
        from largesse.commands.experiment import rows_of
        from largesse.report import pictures

        return pictures.forest_png([row for one in result.metrics for row in rows_of(one, METHODS)], result.level)

    return result._html() + _picture("Effects by estimator", draw)


def _content(**parts: Any) -> Results:
    return Results(headline=Headline(title="", sentence=""), value_unit="value", money_unit="money", **parts)


def _picture(words: str, draw: Callable[[], bytes]) -> str:
    return f'<img alt="{words}" style="max-width: 45em; width: 100%" src="data:image/png;base64,{b64encode(draw()).decode()}">'


def _mean(x: float) -> str:
    return "–" if np.isnan(x) else number(x)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _FEATURES
    return ", ".join(names[:_FEATURES]) + (f" and {more} more" if more > 0 else "")


def _first(body: Sequence[list[str]]) -> list[list[str]]:
    more = len(body) - _ARMS
    return [*body[:_ARMS], *([[f"and {more} more", *[""] * (len(body[0]) - 1)]] if more > 0 else [])]


_SHOWN: dict[type, Callable[[Any], str]] = {
    Logs: _logs, Plan: _plan, PlanTotals: _plan, Allocation: _allocation, Comparison: _comparison,
    OutcomeCurve: _outcome_curve, PriceCurve: _price_curve, Measurement: _measurement,
}  # fmt: skip
