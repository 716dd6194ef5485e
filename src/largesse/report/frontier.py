"""The slider of a page: what the policy brings, costs and gives at any budget, with the decimals of the table of returns."""

from __future__ import annotations

from math import isnan

from largesse.report.blocks import Slider, Stop
from largesse.report.numbers import UNKNOWN, number, percent
from largesse.report.pays import Frontier, Pay, PayRow, decimals_of, return_cells, return_columns, value_columns
from largesse.report.style import treatment_colours

__all__ = ["slider"]

_ANY_BUDGET = (
    "The policy along the whole range of budgets, on the same held-out rows and with intervals of the same kind as in the table; "
    "marks on the slider are the budgets of the table. An interval counts its own budget only: a budget that is chosen because "
    "its number is the highest looks better than it is. The bar: the mix of treatments that spends the budget on these rows."
)


def slider(pay: Pay, frontier: Frontier, *, value: str, money: str, head: str, level: float) -> Slider:
    """Returns the slider: the numbers of the table, with its decimals, at budgets along the whole range."""
    unit, columns = f"{money} per {head}".strip(), return_columns(pay.known, value, money, head, level)
    digits, of_net = decimals_of(pay)
    labels = {row.returns.budget: row.budget_label for row in pay.rows}
    # Without the names of the policy and of the verdict; the spend is a column of its own only where net values are not known.
    first = 2 if pay.known else 1
    shown = (*columns[first:], *((value_columns(value, money, head, level)[-1],) if pay.known else ()))
    stops = []
    for row, shares in zip(frontier.rows, frontier.shares, strict=True):
        cells = return_cells(PayRow(budget_label="", returns=row), pay.known, digits, of_net, brief=False)[first:]
        more = (number(row.spend),) if pay.known else ()
        mix = tuple(UNKNOWN if isnan(share) else percent(share, decimals=1) for share in shares)
        name = f"{number(row.budget)} {unit}"
        label = labels.get(row.budget, name)
        stops.append(Stop(name, "" if label == name else label, (*map(str, cells), *more), mix))
    return Slider(
        name="pay-slider", title="The policy at any budget", label=f"Budget, {unit}", columns=shown, stops=tuple(stops),
        parts=tuple(zip(frontier.treatments, treatment_colours(len(frontier.treatments)), strict=True)),
        start=frontier.start,
        caption=_ANY_BUDGET,
    )  # fmt: skip
