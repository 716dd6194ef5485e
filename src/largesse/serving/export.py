"""`export`: a student and its plans of many budgets as one folder, which a server reads with `largesse.serving.runtime`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._files import PathLike, atomic_folder
from largesse.allocate.cluster_plan import ClusterPlan, Risk, plan_clusters
from largesse.errors import StoreError
from largesse.models.clusters.student import Student
from largesse.serving.onnx_graph import graph_of
from largesse.serving.runtime import FORMAT, MODEL, TABLE, Served

__all__ = ["export"]

_TRIED = 1000  # units on which the runtime must say what the student says
_NEAR = 1e-4


def export(
    student: Student,
    x: NDArray[Any],
    budgets: Sequence[float],
    folder: PathLike,
    *,
    risk: Risk | None = None,
    replace: bool = False,
) -> tuple[ClusterPlan, ...]:
    """Writes a fitted student and the treatment of its classes at every budget, whole or not at all; returns the plans.

    The plans are nested: a class's cost never falls as the budget rises. Before the folder appears, the runtime has said of
    some of the units what the student says.

    Args:
        student: The fitted student.
        x: Encoded features of the units that the budgets are for, (N, d): how many fall in each class decides the plans.
        budgets: Money for these units together, in any order; table and plans have them rising.
        folder: The folder to make.
        risk: How the spend is held against the budget, see `plan_clusters`.
        replace: Whether an older export of that name gives way.

    Raises:
        MissingDependency: The extra `onnx` is not installed.
        NotFittedError: The student has learned nothing yet.
        InfeasibleBudget: Even the plan that costs least exceeds a budget.
        StoreError: The folder exists or cannot be written, or the runtime does not say what the student says.
    """
    money = np.unique(_check.array("budgets", budgets, ndim=1, dtype=np.float64))
    _check.finite("budgets", money, "Give money.")
    cells, model = student.cells(x), graph_of(student)
    plans = plan_clusters(cells, money.tolist(), risk=risk)
    table = {
        "format": FORMAT, "model_sha256": hashlib.sha256(model).hexdigest(), "classes": len(cells.size),
        "features": list(student.features_), "treatments": list(cells.treatments), "units": len(x),
        "budgets": money.tolist(), "spend": [plan.spend for plan in plans], "value": [plan.value for plan in plans],
        "treatment": [plan.treatment.tolist() for plan in plans],
    }  # fmt: skip
    with atomic_folder(folder, replace=replace, marker=TABLE) as place:
        (place / MODEL).write_bytes(model)
        (place / TABLE).write_text(json.dumps(table, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")
        _try(place, student, np.asarray(x[:_TRIED], np.float32))
    return plans


def _try(place: Path, student: Student, x: NDArray[np.float32]) -> None:
    """Refuses an export whose probabilities are not the student's."""
    off = float(np.abs(Served.load(place).probabilities(x) - student.probabilities(x)).max())
    if not off <= _NEAR:
        raise StoreError(
            f"student: its ONNX form is off by {off:.2g} in probability on {len(x)} of the units. Not exported; report it."
        )
