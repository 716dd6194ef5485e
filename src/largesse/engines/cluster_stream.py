"""Parquet in, Parquet out, by clusters: a pass that says which cluster each unit is in, an integer programme, a pass that writes.

Memory holds a block and a few numbers for each cluster, however many units there are.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse.allocate.blocks import BLOCK
from largesse.allocate.cluster_plan import Chance, ClusterCells, ClusterPlan, Risk, plan_clusters
from largesse.engines.parquet import columns_of, fill, job_of, keys, put_out
from largesse.engines.spill import SpillFolder
from largesse.frames import Encoder
from largesse.frames.batches import Batches
from largesse.frames.tables import pick
from largesse.models.clusters.hrc import HRC
from largesse.models.nets.checkpoint import digest
from largesse.policy.saved import model_state
from largesse.progress import Say, silent
from largesse.result import Result

__all__ = ["Clustered", "Grouped", "allocate_clusters", "cluster_table"]

_MOST = 32  # treatments whose permissions fit in one number


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """Units in Parquet, and what puts them into clusters.

    Attributes:
        path: A file, or a folder of files.
        model: A fitted `HRC`.
        encoder: What turns a table into the model's features.
        unit: The column of their ids; None: they are numbered.
        eligible: Columns of truth values that say what a unit may get, ``"may_{}"`` with the treatment for {}. None: all.
    """

    path: Path
    model: HRC
    encoder: Encoder
    unit: str | None = None
    eligible: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Grouped(Result):
    """A plan that gives every unit its group's treatment.

    Attributes:
        plan: One treatment for each group.
        cells: Value and cost of the treatments in each group; `plan_clusters` plans other budgets with them.
        cluster: The cluster of each group (G,); without `eligible` a group is a cluster that has units.
        code: A number for each group (G,), rising: the cluster, and beyond that a bit for each treatment that is allowed.
        risk: How the spend was held against the budget; None: its expectation.
    """

    _hidden: ClassVar[tuple[str, ...]] = ("cells", "code")
    _computed: ClassVar[tuple[str, ...]] = ("n", "mix")
    plan: ClusterPlan
    cells: ClusterCells
    cluster: NDArray[np.int64]
    code: NDArray[np.int64]
    risk: Risk | None

    @property
    def n(self) -> int:
        """Number of units."""
        return int(self.cells.size.sum())

    @property
    def safety(self) -> float | None:
        """Probability of staying within the budget that was asked for; None where the spend was held otherwise."""
        return round(1 - self.risk.epsilon, 12) if isinstance(self.risk, Chance) else None

    @property
    def mix(self) -> dict[str, int]:
        """Units per treatment, by name."""
        names = self.cells.treatments
        counts = np.bincount(self.plan.treatment, self.cells.size, len(names)).astype(int)
        return dict(zip(names, counts.tolist(), strict=True))


def allocate_clusters(
    units: Clustered, output: Path, budget: float, *, risk: Risk | None = None, say: Say = silent, size: int = BLOCK
) -> Grouped:
    """Gives every unit its cluster's treatment and writes who gets what; interrupted, the same call goes on where it stopped.

    The file has the unit (or row), treatment, cluster, and the cluster's mean value and cost under that treatment.

    Args:
        units: The units. Those of a cluster that may get different treatments are planned as groups of their own.
        output: A .parquet file; an older one of that name is replaced at the very end.
        budget: Money for all units together.
        risk: What is held against it: `Expected` (the default), `Chance` or `Tail`.
        say: Told what is being done and how far it is, in [0, 1].
        size: Units of a block.

    Raises:
        InfeasibleBudget: Even the plan that is charged least exceeds the budget.
        DataError: The units break a rule (then nothing is left behind), or the disk is full.
        StoreError: Another process writes the same output.
    """
    batches, wanted = Batches(units.path), _columns(units)
    job = job_of(batches, wanted, units.unit, {"clusters": _sign(units), "eligible": units.eligible}, size)
    with SpillFolder.beside(output, job, size, 1) as scratch:
        fill(scratch, batches, wanted, units.unit, lambda table: _codes(units, table), say, "clusters")
        say("the plan", 0.7)
        done = _planned(units, *_counted(scratch), budget, risk)

        def tables() -> Iterator[pa.Table]:
            for k, key in enumerate(keys(batches, scratch, units.unit)):
                say("writing", 0.8 + 0.2 * k / scratch.done)
                yield _told(units, done, key, scratch.table(k))

        os.replace(put_out(scratch, tables()), output)
    return done


def cluster_table(
    units: Clustered, table: pa.Table, budget: float, *, risk: Risk | None = None
) -> tuple[Grouped, pa.Table]:
    """Returns the same for units that are in memory, and the table that `allocate_clusters` would write.

    Args:
        units: What puts them into clusters; its `path` says where they came from and is not read.
        table: The units.
        budget: Money for all of them together.
        risk: What is held against it.

    Raises:
        SchemaError: A column is missing.
        InfeasibleBudget: Even the plan that is charged least exceeds the budget.
        DataError: The units break a rule.
    """
    some = pick(table, _columns(units))
    code = _codes(units, some)
    done = _planned(units, *np.unique(code, return_counts=True), budget, risk)
    if units.unit is None:
        return done, _told(units, done, {"row": np.arange(len(code))}, code)
    ids = frames.ids(some, units.unit)
    _check.unique("unit", ids)
    return done, _told(units, done, {"unit": ids}, code)


def _planned(
    units: Clustered, code: NDArray[np.int64], count: NDArray[np.int64], budget: float, risk: Risk | None
) -> Grouped:
    """Returns the plan of groups with these numbers and so many units each."""
    cluster, allowed = _read(units, code)
    every = units.model.cells_of(np.bincount(cluster, count, minlength=units.model.n_clusters))
    cells = every.parted(cluster, count, allowed)
    (plan,) = plan_clusters(cells, [budget], risk=risk)
    return Grouped(plan, cells, cluster, code, risk)


def _told(units: Clustered, done: Grouped, key: dict[str, Any], code: NDArray[np.int64]) -> pa.Table:
    """Returns what some units get: `key` is the column of who they are, `code` the numbers of their groups, (N,)."""
    group = np.searchsorted(done.code, code)
    treatment, labels = done.plan.treatment[group], pa.array(units.model.treatments_, pa.string())
    return pa.table({
        **key, "treatment": labels.take(pa.array(treatment)), "cluster": done.cluster[group].astype(np.int32),
        "value": done.cells.value[group, treatment].astype(np.float32),
        "cost": done.cells.cost[group, treatment].astype(np.float32),
    })  # fmt: skip


def _columns(units: Clustered) -> tuple[str, ...]:
    """Returns the columns to read."""
    names = units.model.treatments_
    if units.eligible is None:
        return columns_of(units.encoder.features, units.unit)
    if len(names) > _MOST:
        raise _check.refuse("eligible", units.eligible, f"works for at most {_MOST} treatments", "Leave it out.")
    if "{}" not in units.eligible:
        raise _check.refuse("eligible", units.eligible, "must have {} where the treatment stands", "Give 'may_{}'.")
    return columns_of((*units.encoder.features, *_eligible(units)), units.unit)


def _eligible(units: Clustered) -> list[str]:
    """Returns the columns that say what a unit may get, one for each treatment."""
    return [str(units.eligible).replace("{}", name) for name in units.model.treatments_]


def _sign(units: Clustered) -> str:
    """Returns a checksum of what decides the clusters."""
    settings, arrays = model_state(units.model)
    held = (part for name in sorted(arrays) for part in (name, arrays[name]))
    return digest((json.dumps([settings, units.encoder.state()]), *held))


def _codes(units: Clustered, table: pa.Table) -> NDArray[np.int64]:
    """Returns a number for each unit's group, (N,): its cluster, and beyond that one bit for each treatment it may get."""
    model = units.model
    code = model.clusters(units.encoder.transform(table))
    if units.eligible is None:
        return code
    may = frames.truths(table, _eligible(units))
    bits = may @ (np.int64(1) << np.arange(may.shape[1]))
    if not bits.all():
        row = int(np.argmin(bits != 0))
        rule = f"every unit needs a treatment that it may get ({np.count_nonzero(bits == 0)} such rows)"
        raise _check.refuse(f"{units.eligible} of row {row}", False, rule, "Control is one; or leave the unit out.")
    return code + model.n_clusters * bits


def _counted(scratch: SpillFolder) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the numbers of all groups, rising, and how many units each has."""
    seen: Counter[int] = Counter()
    for k in range(scratch.done):
        code, count = np.unique(scratch.table(k), return_counts=True)
        seen.update(dict(zip(code.tolist(), count.tolist(), strict=True)))
    pairs = np.array(sorted(seen.items()), np.int64)
    return pairs[:, 0], pairs[:, 1]


def _read(units: Clustered, code: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns the cluster of each group, and what it may get, (G,) and (G, M)."""
    bits, cluster = np.divmod(code, units.model.n_clusters)
    m = len(units.model.treatments_)
    if units.eligible is None:
        return cluster, np.ones((len(code), m), np.bool_)
    return cluster, (bits[:, None] >> np.arange(m)) % 2 == 1
