"""The table of how far the log of the past policy can be trusted, as words: the same on the page and in Markdown."""

from __future__ import annotations

from math import isnan

from largesse.report.content import Results, TrustRow
from largesse.report.numbers import UNKNOWN, count, interval, percent, places

__all__ = ["TRUST_NOTE", "trust_table"]

TRUST_NOTE = (
    "Rows it is worth: what the rows of the log would count for if they were weighted to stand for everyone. Gap of the plain "
    "means: what one would be misled by without features. Left after learning: what a model of the log alone promises the "
    "units of the trial, less what they brought; features do not explain it. A gap that all treatments share moves no "
    "decision. Gate: how far the bi-level model follows its teacher where the log is silent, mean over units, and where nine "
    "of ten units lie."
)


def trust_table(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the head and the rows; what is known of no treatment has no column."""
    rows = results.trust
    gaps = places((row.gap_high - row.gap_low) / 2 for row in rows)
    lefts = places((row.left_high - row.left_low) / 2 for row in rows)
    level = f"{percent(results.level)} interval"
    columns = {
        "Rows in the log": [count(row.rows) for row in rows],
        "Rows it is worth": [UNKNOWN if isnan(row.worth) else count(row.worth) for row in rows],
        f"Gap of the plain means ({level})": [_signed(row.gap, row.gap_low, row.gap_high, gaps) for row in rows],
        f"Left after learning ({level})": [_signed(row.left, row.left_low, row.left_high, lefts) for row in rows],
        "Gate (90 % of units)": [_gate(row) for row in rows],
    }
    known = {name: cells for name, cells in columns.items() if set(cells) != {UNKNOWN}}
    body = [(row.treatment, *(cells[k] for cells in known.values())) for k, row in enumerate(rows)]
    return ("Treatment", *known), body


def _signed(x: float, low: float, high: float, decimals: int) -> str:
    return UNKNOWN if isnan(x) else interval(x, low, high, decimals=decimals, sign=True)


def _gate(row: TrustRow) -> str:
    return UNKNOWN if isnan(row.gate) else interval(row.gate, row.gate_low, row.gate_high, decimals=2)
