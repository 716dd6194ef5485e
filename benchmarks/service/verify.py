"""What must hold after a run of load and faults, computed from the store and from what callers were answered."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy import stats

from benchmarks.service.server import CAMPAIGN
from largesse.serving import Ledger
from largesse.serving.ledger import tables
from largesse.serving.ledger.rows import unpacked
from largesse.serving.ledger.store import reading

_PART = 50_000


def verify(store: str, folder: Path, treatments: list[str], matures: float) -> dict[str, Any]:
    """Returns the faults, all of which must be 0, and what else the store shows."""
    with Ledger.open(store) as ledger:
        rows = {row.id: row for row in decisions(ledger, treatments)}
        faults = answers(rows, folder) | sums(ledger, list(rows.values())) | receipts(ledger, folder)
        # A unit of the holdout is in it in every period: its later decisions say nothing new.
        first = {row.unit: row for row in sorted(rows.values(), key=lambda row: -row.number)}
        shares = chi_square([row for row in first.values() if not row.limited], treatments)
        states, versions = (Counter(getattr(row, name) for row in rows.values()) for name in ("state", "version"))
        limited = sum(row.limited for row in rows.values())
        after = _after(ledger, matures)
    return {
        "faults": faults, "decisions": len(rows), "limited": limited, "states": dict(states), "versions": dict(versions),
        "shares": shares, "end": after,
    }  # fmt: skip


def decisions(ledger: Ledger, treatments: list[str]) -> Iterator[Any]:
    """Yields the decisions of the campaign, in parts of the store, with the propensities as numbers."""
    d, first = tables.decisions.c, 0
    names = (
        "id",
        "unit",
        "period",
        "treatment",
        "propensities",
        "limited",
        "reserved",
        "paid",
        "state",
        "number",
        "version",
    )
    query = sa.select(*(d[name] for name in names)).where(d.campaign == CAMPAIGN)
    while True:
        with reading(ledger.engine) as connection:
            rows = connection.execute(query.where(d.number >= first, d.number < first + _PART)).all()
        for row in rows:
            given = unpacked(row.propensities, len(treatments))
            one = row._asdict() | {"propensities": given, "propensity": given[treatments.index(row.treatment)]}
            yield SimpleNamespace(**one)
        if not rows:
            return
        first += _PART


def lines(folder: Path, name: str) -> Iterator[list[Any]]:
    """Yields the lines that callers wrote."""
    for path in sorted(folder.glob(f"{name}-*.jsonl")):
        with open(path) as file:
            for line in file:
                yield json.loads(line)


def answers(rows: dict[str, Any], folder: Path) -> dict[str, int]:
    """Compares every answer with the log: it is there, with the same unit, period, treatment and propensity."""
    faults = dict.fromkeys(("answered, not stored", "answered otherwise than stored", "key with two answers"), 0)
    by_key: dict[str, str] = {}
    for identity, key, *rest in lines(folder, "answers"):
        row = rows.get(identity)
        if row is None:
            faults["answered, not stored"] += 1
        elif rest != [row.unit, row.period, row.treatment, row.propensity]:
            faults["answered otherwise than stored"] += 1
        if by_key.setdefault(key, identity) != identity:
            faults["key with two answers"] += 1
    known = set(by_key.values())
    faults["stored, never answered"] = sum(identity not in known for identity in rows)
    return faults


def sums(ledger: Ledger, rows: list[Any]) -> dict[str, int]:
    """Compares the counters of the campaign with the sums of its rows, and counts units that are decided twice."""
    o, t = tables.outcomes.c, tables.tallies.c
    with reading(ledger.engine) as connection:
        campaign = connection.execute(sa.select(tables.campaigns).where(tables.campaigns.c.name == CAMPAIGN)).one()
        paid = connection.execute(sa.select(sa.func.sum(o.cost)).where(o.campaign == CAMPAIGN)).scalar() or 0
        tallied = connection.execute(
            sa.select(sa.func.sum(t.decisions), sa.func.sum(t.paid)).where(t.campaign == CAMPAIGN)
        ).one()
    spent, reserved = sum(row.paid for row in rows), sum(row.reserved for row in rows)
    return {
        "unit decided twice in a period": len(rows) - len({(row.unit, row.period) for row in rows}),
        "numbers of decisions with a gap": len(rows) - len({row.number for row in rows} & set(range(campaign.decided))),
        "counter of decisions": abs(campaign.decided - len(rows)) + abs(int(tallied[0] or 0) - len(rows)),
        "counter of spend": abs(campaign.spent - spent) + abs(int(paid) - spent) + abs(int(tallied[1] or 0) - spent),
        "counter of reservations": abs(campaign.reserved - reserved),
        "budget exceeded at the end": max(0, campaign.spent + campaign.reserved - campaign.budget - campaign.beyond),
    }


def receipts(ledger: Ledger, folder: Path) -> dict[str, int]:
    """Compares every outcome that was accepted with the store."""
    o = tables.outcomes.c
    with reading(ledger.engine) as connection:
        stored = {
            key: (decision, cost, void)
            for key, decision, cost, void in connection.execute(
                sa.select(o.key, o.decision, o.cost, o.void).where(o.campaign == CAMPAIGN)
            )
        }
    wrong, accepted = 0, set()
    for key, decision, cost, void in lines(folder, "receipts"):
        accepted.add(key)
        wrong += stored.get(key) != (decision, _cents(cost), void)
    return {"outcome accepted, not stored so": wrong, "outcome stored, never accepted": len(stored) - len(accepted)}


def _cents(cost: float) -> int:
    """Returns an amount in cents, rounded up; a ten-millionth of a cent is a rounding of the float, no amount."""
    return math.ceil(round(100 * cost, 7))


def chi_square(rows: list[Any], treatments: list[str]) -> dict[str, float]:
    """Compares the treatments given with the sum of their propensities; decisions that the budget limited are left out.

    With the covariance S = sum of diag(p) - p p' over the decisions, and d = given - expected, d' S^+ d has a chi-square
    distribution with M - 1 degrees of freedom.
    """
    p = np.array([row.propensities for row in rows]).reshape(len(rows), len(treatments))
    given = np.bincount(np.array([treatments.index(row.treatment) for row in rows], int), minlength=len(treatments))
    d = given - p.sum(0)
    statistic = float(d @ np.linalg.pinv(np.diag(p.sum(0)) - p.T @ p) @ d)
    freedom = len(treatments) - 1
    return {"statistic": statistic, "freedom": freedom, "p": float(stats.chi2.sf(statistic, freedom))}


def _after(ledger: Ledger, matures: float) -> dict[str, float]:
    """Returns the money at the end, after all reservations without an outcome have expired."""
    now, free = ledger.clock(), ledger.status(CAMPAIGN).left
    ledger.clock = lambda: now + matures + 1
    ledger.expire()
    return ledger.status(CAMPAIGN)._asdict() | {"counts": {}, "free": free}
