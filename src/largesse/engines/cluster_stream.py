"""Parquet in, Parquet out, by clusters: a pass that assigns units to clusters, an integer programme, a pass that writes.

Memory holds a block and a few numbers for each cluster, for any number of units.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse.allocate.cluster_plan import ClusterCells, ClusterPlan, plan_clusters
from largesse.allocate.risk import Chance, Risk
from largesse.engines.parquet import columns_of, fill, folder_of, keys, put_out
from largesse.engines.spill import SpillFolder
from largesse.frames import Encoder
from largesse.frames.batches import Batches
from largesse.frames.plans import PlanColumns
from largesse.frames.tables import pick
from largesse.models.clusters.hrc import HRC
from largesse.models.nets.checkpoint import digest
from largesse.policy.saved import model_state
from largesse.progress import Say, silent
from largesse.result import Result

__all__ = ["Clustered", "Grouped", "allocate_clusters", "cluster_table"]

_MOST = 32  # treatments: one bit each in the number of a group


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """Units in Parquet, and the model that assigns them to clusters.

    Attributes:
        path: A file, or a folder of files.
        model: A fitted `HRC`.
        encoder: Turns a table into the model's features.
        unit: The column of ids; None: units are numbered.
        eligible: Pattern of the boolean columns of treatments that a unit may get, e.g. ``"may_{}"``. None: all treatments.
    """

    path: Path
    model: HRC
    encoder: Encoder
    unit: str | None = None
    eligible: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Grouped(Result):
    """A plan of groups of units: clusters, or the units of a cluster that may get the same treatments.

    Attributes:
        plan: One treatment for each group.
        cells: Value and cost of each group and treatment; `plan_clusters` plans other budgets with them.
        cluster: The cluster of each group, (G,); without `eligible` the groups are the clusters that have units.
        code: Number of each group, (G,), rising: cluster + n_clusters · bits, one bit for each allowed treatment.
        risk: The constraint on the spend; None: on its expectation.
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
        """Declared probability of staying within the budget; None unless the risk is a `Chance`."""
        return round(1 - self.risk.epsilon, 12) if isinstance(self.risk, Chance) else None

    @property
    def mix(self) -> dict[str, int]:
        """Units per treatment, by name."""
        names = self.cells.treatments
        counts = np.bincount(self.plan.treatment, self.cells.size, len(names)).astype(int)
        return dict(zip(names, counts.tolist(), strict=True))


def allocate_clusters(
    units: Clustered, output: Path, budget: float, *, risk: Risk | None = None, say: Say = silent
) -> Grouped:
    """Writes each unit's treatment, that of its cluster; after an interruption the same call continues where it stopped.

    The file has the ids by their name (or row), treatment, cluster, and the cluster's mean value and cost under that treatment.

    Args:
        units: The units. Those of a cluster that may get different treatments are planned as separate groups.
        output: A .parquet file; an older one of that name is replaced at the very end.
        budget: Budget of all units together.
        risk: The constraint on the spend: `Expected` (the default), `Chance` or `Tail`.
        say: Called with the current stage and the share of the work done, in [0, 1].

    Raises:
        InfeasibleBudget: Even the lowest possible charge exceeds the budget.
        DataError: The units break a rule (then no partial files are left), or the disk is full.
        StoreError: Another process writes the same output.
    """
    batches, columns = Batches(units.path), _columns(units)
    key = {"clusters": _fingerprint(units), "eligible": units.eligible}
    with folder_of(output, batches, columns, units.unit, key) as spill:
        fill(spill, batches, columns, units.unit, lambda table: _codes(units, table), say, "clusters")
        say("the plan", 0.7)
        grouped = _planned(units, *_counted(spill), budget, risk)

        def tables() -> Iterator[pa.Table]:
            for k, ids in enumerate(
                keys(batches, spill, PlanColumns(treatments=units.model.treatments_, unit=units.unit))
            ):
                say("writing", 0.8 + 0.2 * k / spill.done)
                yield _plan_table(units, grouped, ids, spill.table(k))

        written = put_out(spill, tables())
        batches.unchanged()
        os.replace(written, output)
    return grouped


def cluster_table(
    units: Clustered, table: pa.Table, budget: float, *, risk: Risk | None = None
) -> tuple[Grouped, pa.Table]:
    """Returns the plan of units in memory, and the table that `allocate_clusters` would write.

    Args:
        units: The model that assigns them to clusters; its `path` is not read.
        table: The units.
        budget: Budget of all units together.
        risk: The constraint on the spend: `Expected` (the default), `Chance` or `Tail`.

    Raises:
        SchemaError: A column is missing.
        InfeasibleBudget: Even the lowest possible charge exceeds the budget.
        DataError: The units break a rule.
    """
    needed = pick(table, _columns(units))
    code = _codes(units, needed)
    grouped = _planned(units, *np.unique(code, return_counts=True), budget, risk)
    if units.unit is None:
        return grouped, _plan_table(units, grouped, {"row": np.arange(len(code))}, code)
    ids = frames.ids(needed, units.unit)
    _check.unique("unit", ids)
    return grouped, _plan_table(units, grouped, {units.unit: needed[units.unit]}, code)


def _planned(
    units: Clustered, code: NDArray[np.int64], count: NDArray[np.int64], budget: float, risk: Risk | None
) -> Grouped:
    """Returns the plan of groups, given the number and the size of each, (G,)."""
    model, cluster = units.model, code % units.model.n_clusters
    allowed = np.ones((len(code), len(model.treatments_)), np.bool_)
    if units.eligible is not None:
        allowed = ((code // model.n_clusters)[:, None] >> np.arange(allowed.shape[1])) % 2 == 1
    cells = model.cells_of(np.bincount(cluster, count, minlength=model.n_clusters)).parted(cluster, count, allowed)
    (plan,) = plan_clusters(cells, [budget], risk=risk)
    return Grouped(plan, cells, cluster, code, risk)


def _plan_table(units: Clustered, grouped: Grouped, ids: dict[str, Any], code: NDArray[np.int64]) -> pa.Table:
    """Returns the table of some units' treatments: `ids` is its first column, `code` the numbers of their groups, (N,)."""
    group = np.searchsorted(grouped.code, code)
    treatment, labels = grouped.plan.treatment[group], pa.array(units.model.treatments_, pa.string())
    return pa.table({
        **ids, "treatment": labels.take(pa.array(treatment)), "cluster": grouped.cluster[group].astype(np.int32),
        "value": grouped.cells.value[group, treatment].astype(np.float32),
        "cost": grouped.cells.cost[group, treatment].astype(np.float32),
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
    """Returns the columns of permissions, one for each treatment."""
    return [str(units.eligible).replace("{}", name) for name in units.model.treatments_]


def _fingerprint(units: Clustered) -> str:
    """Returns a checksum of the model and the encoder, which decide the clusters."""
    settings, arrays = model_state(units.model)
    parts = (part for name in sorted(arrays) for part in (name, arrays[name]))
    return digest((json.dumps([settings, units.encoder.state()]), *parts))


def _codes(units: Clustered, table: pa.Table) -> NDArray[np.int64]:
    """Returns the number of each unit's group, (N,): cluster + n_clusters · bits, one bit for each treatment it may get."""
    model = units.model
    code = model.clusters(units.encoder.transform(table))
    if units.eligible is None:
        return code
    allowed = frames.truths(table, _eligible(units))
    bits = allowed @ (np.int64(1) << np.arange(allowed.shape[1]))
    if not bits.all():
        row = int(np.argmin(bits != 0))
        rule = f"every unit needs a treatment that it may get ({np.count_nonzero(bits == 0)} such rows)"
        raise _check.refuse(f"{units.eligible} of row {row}", False, rule, "Allow control, or leave the unit out.")
    return code + model.n_clusters * bits


def _counted(spill: SpillFolder) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the number of each group, rising, and its size, (G,) each."""
    blocks = [np.unique(spill.table(k), return_counts=True) for k in range(spill.done)]
    code, at = np.unique(np.concatenate([block[0] for block in blocks]), return_inverse=True)
    return code.astype(np.int64), np.bincount(at, np.concatenate([block[1] for block in blocks])).astype(np.int64)
