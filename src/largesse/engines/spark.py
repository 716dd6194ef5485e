"""Allocation on Spark DataFrames: the passes of `solve_blocks` as jobs. The plan equals that on one machine.

`score` adds a model's menu to every row, `solve` and `allocate` decide within a budget, `curve` estimates the outcome curve
of a policy on rows of a trial. Each pass is one job: `mapInArrow` with the same kernels, blocks of rows in, sums out.
largesse must be installed where the executors run.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from largesse import frames
from largesse.allocate.blocks import Block, BlockPlan, Decision, Sums, solve_blocks
from largesse.allocate.price_intervals import taken_interval
from largesse.engines.rows import (
    Batches,
    Columns,
    DataFrame,
    Passes,
    collected,
    mapped,
    need,
    numbered,
    picked,
)
from largesse.errors import DataError, SchemaError
from largesse.evaluate.curve import OutcomeCurve, interval_curve
from largesse.frames import Encoder
from largesse.frames.columns import coded, texts
from largesse.frames.plans import PlanColumns, kept_names
from largesse.menu import Menu, PlanTotals
from largesse.policy.deployed import Allocation, Policy, allocated, control_sums
from largesse.policy.descent import Priced, descend
from largesse.policy.safety import amount
from largesse.roles import Roles

__all__ = ["Allocated", "Columns", "Passes", "Solved", "allocate", "curve", "score", "solve"]


def score(frame: DataFrame, policy: Policy, *, keep: Sequence[str] = ()) -> DataFrame:
    """Returns the predictions of a policy's model: columns ``value_...`` and ``cost_...`` for each treatment.

    Args:
        frame: A DataFrame with the features that the policy was fitted on.
        policy: A policy with an encoder, e.g. `Policy.load` of a run.
        keep: Columns to keep, e.g. the unit id.

    Raises:
        SchemaError: A column is missing.
        DataError: The policy has no encoder.
    """
    taken = (*PlanColumns(treatments=policy.curve.treatments).names, *Columns(policy.curve.treatments).names)
    features, files, keep = _encoder(policy).features, _packed(policy), kept_names(keep, taken)
    need(frame, [*features, *keep])
    columns = Columns(policy.curve.treatments)

    def work(batches: Batches) -> Iterator[pa.RecordBatch]:
        model = _unpacked(files)
        for batch in batches:
            if batch.num_rows:
                table = pa.Table.from_batches([batch])
                out = {name: table[name] for name in keep} | columns.table(_menu_of(model, table))
                yield from pa.table(out).combine_chunks().to_batches()

    kind, kinds = _menu_kind(policy), dict(frame.dtypes)
    schema = {name: kinds[name] for name in keep} | dict.fromkeys(columns.names, kind)
    return mapped(picked(frame, [*keep, *features]), work, schema)


class Solved(NamedTuple):
    """The plan at a budget.

    Attributes:
        plan: The price, and spend, value, bound and counts of the plan.
        passes: Returns the plan as a DataFrame: `passes.plan(plan, keep=["user"])`.
    """

    plan: BlockPlan
    passes: Passes


def solve(frame: DataFrame, budget: float, columns: Columns) -> Solved:
    """Returns the best plan within a budget, in three jobs, and one more for each bracket that misses the price.

    Args:
        frame: Rows with a menu. They must be the same each time they are computed: read from files, or persisted.
        budget: Budget of all units together; infinity for no limit.
        columns: The columns of the menus.

    Raises:
        InfeasibleBudget: Even the cheapest plan costs more.
        DataError: A cell breaks a rule, or the rows change between two passes.
    """
    passes = Passes(frame, columns)
    return Solved(solve_blocks(passes, budget), passes)


class Allocated(NamedTuple):
    """A policy's plan at a budget, with its expected spend and value.

    Attributes:
        frame: The plan as a DataFrame.
        scored: The menus, persisted on the executors' disks; call `scored.unpersist()` once the plan is written.
        allocation: The totals of the plan, the expected spend and the expected value.
    """

    frame: DataFrame
    scored: DataFrame
    allocation: Allocation[PlanTotals]


def allocate(
    frame: DataFrame, policy: Policy, budget: float, *, safety: float | None = None, keep: Sequence[str] = (),
    unit_value: float | None = None,
) -> Allocated:  # fmt: skip
    """Returns the treatments by a policy under a budget, in four jobs; each row is scored once.

    Args:
        frame: A DataFrame with the features that the policy was fitted on.
        policy: A policy with an encoder.
        budget: Budget of all units together; infinity for no limit.
        safety: Probability that the actual spend stays within the budget; None: it does on average.
        keep: Columns to keep, e.g. the unit id.
        unit_value: Money that one unit of value brings; None: not known, so the plan has no ``net_value``.

    Raises:
        InfeasibleBudget: Even the cheapest treatment for every unit spends more.
        LargesseError: A column is missing, or a cell breaks a rule.
    """
    from pyspark import StorageLevel

    limit = amount(budget)
    PlanColumns(
        treatments=policy.curve.treatments, keep=tuple(keep), unit_value=unit_value
    )  # refuses names before the work
    scored = score(frame, policy, keep=keep).persist(StorageLevel.DISK_ONLY)
    passes = Passes(scored, Columns(policy.curve.treatments))
    try:
        descent = descend(policy.curve, passes, limit, safety)
        decision = Priced(descent.price)
        sums, idle = Sums.over(passes(_Audit(decision))), control_sums(passes)
    except Exception:
        scored.unpersist()
        raise
    return Allocated(
        passes.plan(decision, keep, unit_value=unit_value),
        scored,
        allocated(policy.curve, descent, sums, limit, safety, idle, unit_value),
    )


def curve(frame: DataFrame, policy: Policy, roles: Roles, *, propensity: Any = None) -> OutcomeCurve:
    """Returns the outcome curve of a policy on rows of a trial, scored in one job that returns up to seven numbers per row.

    Args:
        frame: Rows of a randomised trial that the model was not fitted on.
        policy: A policy with an encoder.
        roles: The columns of treatment, value, cost, propensity and weight; cost is needed.
        propensity: As for `Logs`; a propensity column takes precedence.

    Raises:
        LargesseError: A column is missing, or a row breaks a rule.
    """
    if roles.cost is None:
        raise SchemaError("roles.cost: no column is named, one is needed here. Write the rule's costs into a column.",
                          field="cost")  # fmt: skip
    named = (roles.treatment, roles.value, roles.cost, roles.propensity, roles.weight)
    parts, features, files = [name for name in named if name is not None], _encoder(policy).features, _packed(policy)
    need(frame, [*parts, *features])

    def work(batches: Batches) -> Iterator[tuple[int, int, Any]]:
        model = _unpacked(files)
        code_of = {name: code for code, name in enumerate(model.curve.treatments)}
        for first, table in numbered(batches):
            taken, labels = coded(table[roles.treatment])
            codes = [*(code_of.get(name, 0) for name in texts(labels)), 0]  # unknown names are refused below
            ends = taken_interval(_menu_of(model, table), np.array(codes)[taken])
            yield first, 0, (table.select(parts).combine_chunks().to_batches(), *ends)

    blocks = [cells for _, _, cells in collected(picked(frame, [*parts, *features]), work)]
    if not blocks:
        raise DataError("frame: has 0 rows, at least one is needed. Check the filter it came from.", field="frame")
    table = pa.Table.from_batches([batch for batches, _, _ in blocks for batch in batches])
    lo, hi = (np.concatenate([block[k] for block in blocks]) for k in (1, 2))
    row_roles = replace(
        roles,
        unit=None,
        cluster=None,
        timestamp=None,
        features=("row",),
        ignore=(),
        treatments=policy.curve.treatments,
        control=None,
    )
    numbered_rows = pa.table({**{name: table[name] for name in parts}, "row": np.arange(len(lo))})
    rows, _ = frames.logs(numbered_rows, row_roles, propensity=propensity)
    return interval_curve(rows, lo, hi)


@dataclass(frozen=True, slots=True)
class _Audit:
    """Returns the `Block.audit` of a decision."""

    decision: Decision

    def __call__(self, block: Block) -> tuple[Any, Any]:
        return block.audit(self.decision.of(block))


# A policy is sent to the executors as the files in which it is saved


def _encoder(policy: Policy) -> Encoder:
    """Returns the encoder of a policy, or refuses a policy without one."""
    if policy.encoder is None:
        rest = "has no encoder, which turns columns into features. Load one that a run has saved."
        raise DataError(f"policy: {rest}", field="policy")
    return policy.encoder


def _packed(policy: Policy) -> bytes:
    """Returns the saved files of a policy as bytes: arrays and JSON values, no code."""
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder) / "policy")
        files = sorted(path for path in (Path(folder) / "policy").rglob("*") if path.is_file())
        return pickle.dumps([(str(path.relative_to(folder)), path.read_bytes()) for path in files])


@lru_cache(maxsize=4)
def _unpacked(files: bytes) -> Policy:
    """Returns the policy; each worker loads it once."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in pickle.loads(files):
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Policy.load(Path(folder) / "policy")


def _menu_of(policy: Policy, table: pa.Table) -> Menu:
    """Returns the predictions of a policy's model for the rows of a table."""
    return policy.model.predict(_encoder(policy).transform(table))


def _menu_kind(policy: Policy) -> str:
    """Returns Spark's name of the type of the numbers in that menu."""
    one = policy.model.predict(np.zeros((1, len(_encoder(policy).names)), np.float32))
    return "float" if one.value.dtype == np.float32 else "double"
