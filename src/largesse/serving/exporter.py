"""`export`: a student and its plans for several budgets as one folder, which `largesse.serving.runtime` reads on a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._files import PathLike, atomic_folder
from largesse.allocate.cluster_plan import ClusterPlan, plan_clusters
from largesse.allocate.risk import Risk
from largesse.errors import StoreError
from largesse.models.clusters.student import Student
from largesse.serving.onnx_graph import graph_of
from largesse.serving.runtime import FORMAT, MODEL, TABLE, Served, table_digest

__all__ = ["export"]

_COMPARED = 1000  # units for which the probabilities of runtime and student are compared
_TOLERANCE = 1e-4


@checked
def export(
    student: Student,
    x: NDArray[Any],
    budgets: Sequence[float],
    folder: PathLike,
    *,
    risk: Risk | None = None,
    replace: bool = False,
) -> tuple[ClusterPlan, ...]:
    """Writes a fitted student and the treatment of each class at every budget to a folder, atomically; returns the plans.

    The plans are nested: the cost of a class never decreases as the budget increases. Before the folder is put in place, the
    probabilities of the runtime are compared with those of the student.

    Args:
        student: The fitted student.
        x: Encoded features of the units that the budgets are for, (N, d); the plans depend on the size of each class.
        budgets: Budgets for these units together, in any order; table and plans are in increasing order.
        folder: The folder to create.
        risk: How the spend is compared with the budget, see `plan_clusters`.
        replace: Whether to replace an existing export.

    Raises:
        MissingDependency: The extra `serve` is not installed.
        NotFittedError: The student is not fitted.
        InfeasibleBudget: Even the cheapest plan exceeds a budget.
        StoreError: The folder exists or cannot be written, or runtime and student differ.
    """
    amounts = np.unique(_check.array("budgets", budgets, ndim=1, dtype=np.float64))
    _check.finite("budgets", amounts, "Give amounts in units of cost.")
    cells, model = student.cells(x), graph_of(student)
    plans = plan_clusters(cells, amounts.tolist(), risk=risk)
    table = {
        "format": FORMAT, "model_sha256": hashlib.sha256(model).hexdigest(), "classes": len(cells.size),
        "features": list(student.features_), "treatments": list(cells.treatments), "units": len(x),
        "budgets": amounts.tolist(), "spend": [plan.spend for plan in plans], "value": [plan.value for plan in plans],
        "treatment": [plan.treatment.tolist() for plan in plans],
    }  # fmt: skip
    table["table_sha256"] = table_digest(table)
    with atomic_folder(folder, replace=replace, marker=TABLE) as partial:
        (partial / MODEL).write_bytes(model)
        (partial / TABLE).write_text(
            json.dumps(table, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n"
        )
        _compare(partial, student, np.asarray(x[:_COMPARED], np.float32))
    return plans


def _compare(folder: Path, student: Student, x: NDArray[np.float32]) -> None:
    """Raises StoreError if the probabilities of an export differ from those of the student."""
    difference = float(np.abs(Served.load(folder).probabilities(x) - student.probabilities(x)).max())
    if not difference <= _TOLERANCE:
        raise StoreError(
            f"student: the probabilities of its ONNX form differ by {difference:.2g} on {len(x)} units. Not exported; report it."
        )
