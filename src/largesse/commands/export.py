"""`export`: writes the clusters of a run for a server: one classifier, and the treatment of each class at every budget."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse._files import may_write
from largesse.allocate.cluster_plan import ClusterPlan
from largesse.commands.allocate_clusters import open_clusters, risk_of
from largesse.commands.run_folder import Safety, safety_of
from largesse.models.clusters.hrc import HRC
from largesse.models.clusters.student import Fidelity, Form, Student
from largesse.roles import Roles
from largesse.serving import export

__all__ = ["Exported", "export_run"]


class Exported(NamedTuple):
    """What was exported.

    Attributes:
        plans: One for each budget, the smallest first.
        mixes: Units per treatment by name, for each plan.
        units: Number of units that the budgets are for.
        fidelity: Agreement of the classifier's classes with the run's clusters on these units.
    """

    plans: tuple[ClusterPlan, ...]
    mixes: tuple[dict[str, int], ...]
    units: int
    fidelity: Fidelity


def export_run(
    folder: Path,
    users: Path,
    budgets: tuple[float, ...],
    output: Path,
    *,
    per_unit: tuple[float, ...] = (),
    form: Form = "folded",
    safety: Safety = "configured",
    replace: bool = False,
) -> Exported:
    """Writes a run's clusters as a folder that `largesse.serving.runtime` reads, whole or not at all.

    Args:
        folder: A run folder whose model is an `HRC`, or a `Student` of one.
        users: A sample of the units to be served, with the features of the run.
        budgets: Total budgets of these units.
        output: The folder to make.
        per_unit: Instead of totals: budgets per unit.
        form: Form of the classifier, see `Student`.
        safety: Probability of staying within each budget; ``"configured"``: that of the run; None: within it on average.
        replace: Whether an older export of that name may be replaced.

    Raises:
        DataError: The run's model has no clusters, or a number is out of its range.
        LargesseError: The run or the units cannot be read, a budget is too small, or the output cannot be written.
    """
    if bool(budgets) == bool(per_unit):
        rule = "cannot be used with --budget-per-unit" if budgets else "is missing"
        raise _check.refuse("--budget", budgets or None, rule, "Give total budgets, or budgets per unit.")
    config, policy = open_clusters(folder, HRC, Student)
    model, encoder = policy.model, policy.encoder
    assert isinstance(model, HRC | Student)
    assert encoder is not None
    risk = risk_of(safety_of(config, safety))
    may_write(output, replace=replace, marker="table.json")
    table = frames.read(users, text=() if policy.roles is None else policy.roles.text)
    x, groups = encoder.transform(table), _groups(table, policy.roles)
    student = (
        model
        if isinstance(model, Student)
        else Student(form=form, seed=config.run.seed).distil(model, x, groups=groups)
    )
    budgets = budgets or tuple(_check.number("--budget-per-unit", b, low=0) * len(x) for b in per_unit)
    plans = export(student, x, budgets, output, risk=risk, replace=replace)
    of, names = student.clusters(x), student.treatments_
    counts = [np.bincount(plan.treatment[of], minlength=len(names)).tolist() for plan in plans]
    mixes = tuple(dict(zip(names, count, strict=True)) for count in counts)
    return Exported(plans, mixes, len(x), student.fidelity(x))


def _groups(table: pa.Table, roles: Roles | None) -> NDArray[np.int64] | None:
    """Returns a code for the unit of each row, (N,), so that rows of a unit stay together; None without a column of units."""
    named = () if roles is None else (roles.cluster, roles.unit)
    for name in named:
        if name is not None and name in table.column_names:
            return np.unique(frames.ids(table, name), return_inverse=True)[1].astype(np.int64)
    return None
