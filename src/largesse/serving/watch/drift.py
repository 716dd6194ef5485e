"""Drift: on each day, a sample of the stored features beside the trial of the run that decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from largesse.errors import DataError
from largesse.serving.ledger.book import Ledger
from largesse.serving.watch.cells import SHARE
from largesse.serving.watch.features import Spread, Worst, read_spreads, stability
from largesse.serving.watch.reading import read_texts
from largesse.serving.watch.signals import Signal, ruled

__all__ = ["Drift", "drifted"]

_SAMPLE, _STRIPES = 5_000, 50  # decisions of a day, in so many runs of consecutive ones
_NEXT = (
    "Find out what changed in this column (a broken feed, a new meaning, other units). If it is here to stay, fit again on the "
    "decisions (largesse update)."
)


class Drift(NamedTuple):
    """The features of a campaign, day by day.

    Attributes:
        signals: One for each feature.
        why_none: Why there is none; "" where there are some.
    """

    signals: list[Signal]
    why_none: str


def drifted(
    ledger: Ledger, row: Any, run: Path | None, numbers: Mapping[int, tuple[int, int]], days: int,
    date: Callable[[int], str],
) -> Drift:  # fmt: skip
    """Returns how the stored features of each day differ from the trial.

    Args:
        ledger: An open ledger.
        row: The campaign's row.
        run: The run that decides; None: its folder is not here.
        numbers: First number and the one after the last, of the decisions of each day.
        days: Days from the start of the campaign to its end.
        date: Returns the date of a day's number.

    Raises:
        StoreError: The store or the run's folder is damaged.
    """
    if run is None:
        return Drift([], "the folder of the run is not here (name it with --run)")
    known = read_spreads(run)
    if not known:
        return Drift([], f"{run} has no features.json: it was fitted by an older version")
    from largesse.serving.http.menus import load_run  # it needs the runtime of the model

    loaded, alpha = load_run(run), SHARE / (len(known) * max(1, days))
    mark = loaded.policy.missing
    order = [one.name for one in loaded.policy.columns if one.kind != "text"]
    labels = [one.name for one in loaded.policy.columns if one.kind == "text"]
    latest: dict[str, tuple[Worst, int]] = {}
    worst: dict[str, tuple[Worst, int]] = {}
    first: dict[str, int] = {}
    for day, (start, end) in sorted(numbers.items()):
        texts = _sample(ledger, row, start, end)
        rows = []
        for text in texts:
            try:
                rows.append(loaded.row(json.loads(text)))
            except DataError:  # stored by a run with other columns
                continue
        if not rows:
            continue
        table = np.array([one.numbers for one in rows]).reshape(len(rows), len(order))
        for spread in known:
            cells: Any = (
                [None if one == mark else one for one in (r.labels[labels.index(spread.name)] for r in rows)]
                if spread.text else table[:, order.index(spread.name)]
            )  # fmt: skip
            now = stability(spread, spread.counts(cells), alpha)
            latest[spread.name] = now, len(rows)
            if now.psi > now.threshold:
                first.setdefault(spread.name, day)
                worst[spread.name] = now, len(rows)
    if not latest:
        return Drift([], "no features are stored with the decisions (serve with features = true)")
    return Drift([_signal(one, latest, worst, first, date) for one in known if one.name in latest], "")


def _signal(
    spread: Spread, latest: Mapping[str, tuple[Worst, int]], worst: Mapping[str, tuple[Worst, int]], first: Mapping[str, int],
    date: Callable[[int], str],
) -> Signal:  # fmt: skip
    bad = spread.name in first
    now, n = (worst if bad else latest)[spread.name]
    what = f"{now.bin}: {now.now:.1%} of a day, {now.then:.1%} of the trial. {_NEXT}" if bad else ""
    return ruled(
        "model", "drift (PSI)", now.psi, alarm=bad, threshold=f"above {now.threshold:.2g}",
        next_step=what, rests_on=n, about=spread.name, first=date(first[spread.name]) if bad else None,
    )  # fmt: skip


def _sample(ledger: Ledger, row: Any, start: int, end: int) -> list[str]:
    """Returns stored features of the decisions from one number to another: all, or of stripes evenly over them."""
    if end - start <= _SAMPLE:
        return read_texts(ledger, row, start, end)
    size = _SAMPLE // _STRIPES
    firsts = np.linspace(start, end - size, _STRIPES).astype(np.int64).tolist()
    return [text for first in firsts for text in read_texts(ledger, row, first, first + size)]
