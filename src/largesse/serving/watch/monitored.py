"""`monitor`: reads the log of a campaign once, day by day, and returns its signals."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse._arguments import checked
from largesse.evaluate.sequences.look import Look
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.log import row_of
from largesse.serving.ledger.terms import Status
from largesse.serving.watch import rules
from largesse.serving.watch.cells import ALPHA, Cells, Design
from largesse.serving.watch.drift import drifted
from largesse.serving.watch.lookup import deciding_run, expected_decisions
from largesse.serving.watch.reading import DAY, read_log
from largesse.serving.watch.signals import Signal

__all__ = ["Monitored", "monitor"]


class Monitored(NamedTuple):
    """A campaign with its signals.

    Attributes:
        campaign: Its name.
        at: The time, in seconds since 1970 (UTC).
        status: Its money and counts.
        signals: All signals, in the order of the page: what it brings, whether it can be believed, what goes wrong.
        false_alarm_rate: Probability that a campaign in which nothing is wrong has any alarm of a signal with an interval, or of
            a feature, on any of its days.
        not_watched: What is not watched, and why.
        day_spend: Money paid for the decisions of each day, by date (UTC).
        day_decisions: Decisions of each day.
        day_lift: The lift beyond the holdout of all decisions until the end of each day, since the present period began: of the
            net value where that is known, else of the value.
    """

    campaign: str
    at: float
    status: Status
    signals: tuple[Signal, ...]
    false_alarm_rate: float
    not_watched: tuple[str, ...]
    day_spend: dict[str, float]
    day_decisions: dict[str, int]
    day_lift: dict[str, Look]

    @property
    def alarms(self) -> tuple[Signal, ...]:
        """The signals that are alarms."""
        return tuple(one for one in self.signals if one.state == "alarm")


@checked
def monitor(
    ledger: Ledger, campaign: str, *, run: str | os.PathLike[str] | None = None, value_per_unit: float | None = None,
    tolerance: float = 0.25, oldest: float = 90.0,
) -> Monitored:  # fmt: skip
    """Returns the signals of a campaign in service. The log is read once, in parts, so its size does not matter for memory.

    Every interval holds on all days together, and all of them together are wrong with probability 5 % at most, so one may look as
    often as one likes. Signals about what came back count decisions whose outcome window has ended; voided decisions count.

    Args:
        ledger: An open ledger.
        campaign: Name of the campaign.
        run: Folder of the run that decides, for the drift of its features; None: where the ledger says, if it is there.
        value_per_unit: What one unit of value brings in money, for the net value; None: it is not shown.
        tolerance: How far value and cost of a treatment may be from their prediction, as a share of it, in (0, 1).
        oldest: Days after which a policy counts as old.

    Raises:
        DataError: The campaign is not in the ledger, or a number is out of its range.
        StoreError: The store failed, or the run's folder is damaged.

    Reference:
        Waudby-Smith et al. 2024, arXiv 2103.06476 (the intervals); see `largesse.evaluate.MeanSequence`.
    """
    _check.number("tolerance", tolerance, low=1e-3, high=1 - 1e-3)
    _check.number("oldest", oldest, low=0)
    if value_per_unit is not None:
        _check.number("value_per_unit", value_per_unit, low=1e-12)
    now, row, status = ledger.clock(), row_of(ledger, campaign), ledger.status(campaign)
    terms = terms_of(row.settings)
    first = int(row.started // DAY)
    days = max(1, int(status.until // DAY) - first + 1)
    versions: list[str] = []
    own = terms.campaign
    design = Design(
        own.treatments, own.drawn().mix, own.holdout, own.explore, days, expected_decisions(ledger, row, own), tolerance,
        value_per_unit, own.drawn() if own.exploration != "mix" else None,
    )  # fmt: skip
    cells, counts = Cells(design, versions), rules.Days(versions)
    numbers, spent, number, day = dict[int, tuple[int, int]](), dict[int, float](), 0, 0
    for part in read_log(ledger, row, terms, versions):
        of = np.maximum.accumulate(np.maximum(part.time // DAY - first, day)).astype(
            np.int64
        )  # a clock may be set back
        edges = np.flatnonzero((np.diff(of) != 0) | (np.diff(part.period) != 0)) + 1
        for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(of)], strict=True):
            mine, day = part.where(slice(start, end)), int(of[start])
            cells.add(day, mine, now)
            counts.add(day, mine)
            numbers[day] = numbers.get(day, (number + start,))[0], number + end
            spent[day] = spent.get(day, 0.0) + float(mine.paid.sum())
        number += len(of)
    over = min(now, status.until)  # a campaign that is over is judged as of its end
    today = int(over // DAY) - first

    def date(k: int) -> str:
        return datetime.fromtimestamp((first + k) * DAY, UTC).date().isoformat()

    place = deciding_run(ledger, campaign) if run is None else Path(run)
    drift = drifted(ledger, row, place, numbers, days, date)
    several = [
        *cells.signals(date), rules.spend(status, row.started, over),
        rules.arrivals(rules.outcomes_by_day(ledger, campaign, first * DAY), today, date), rules.delays(ledger, row),
        *counts.signals(today, date), *drift.signals,
    ]  # fmt: skip
    old = rules.age({versions[k]: time for k, time in counts.since.items()}, over, oldest)
    left = [f"drift of features: {drift.why_none}"] if drift.why_none else []
    if not own.holdout:
        left.append("lift: the campaign has no holdout")
    if not own.explore:
        left.append("policy against exploration: nothing explores")
    if value_per_unit is None:
        left.append("net value: what one unit of value brings in money is not known (--value-per-unit)")
    return Monitored(
        campaign, now, status, tuple(several if old is None else [*several, old]), ALPHA, tuple(left),
        {date(k): money for k, money in spent.items()}, {date(k): end - start for k, (start, end) in numbers.items()},
        {date(k): look for k, look in cells.lift_by_day().items()},
    )  # fmt: skip
