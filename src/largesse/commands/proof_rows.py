"""The rows of a proof as a table: what anybody needs to compute the numbers of a report again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse.commands.held_out import Proof
from largesse.roles import Roles

__all__ = ["PROOF_ROWS", "proof_rows"]

PROOF_ROWS = "proof.parquet"


def proof_rows(proof: Proof, counts: NDArray[np.float64], roles: Roles) -> pa.Table:
    """Returns the rows of the proof, with the decision of the policy and how far each row counts at each budget.

    Args:
        proof: The held-out rows with the decisions.
        counts: How far each row counts in the value of the policy at each budget, (B, N), see `OutcomeCurve.matched`.
        roles: The columns of the campaign.

    The columns: the id of the unit by its own name, if there is one; ``fold``; ``treatment`` that the row got; ``value``;
    ``cost``; ``weight``; ``propensity`` of that treatment; and for budget k, counted from 1, ``decision_k``, the treatment that
    the policy gives, and ``counts_k``; where it is known what pays, ``decision_without_budget``.
    """
    logs, names = proof.logs, np.array(proof.logs.treatments)
    columns: dict[str, object] = {}
    if logs.unit is not None:
        columns[_free(roles.unit or "unit")] = logs.unit
    columns |= {
        "fold": proof.fold, "treatment": names[logs.treatment], "value": logs.value, "cost": logs.cost,
        "weight": logs.weights, "propensity": logs.propensity,
    }  # fmt: skip
    for k, part in enumerate(counts):
        columns[f"decision_{k + 1}"] = names[proof.decided[k]]
        columns[f"counts_{k + 1}"] = part
    if proof.paying is not None:
        columns["decision_without_budget"] = names[proof.paying]
    return pa.table(columns)


def _free(name: str) -> str:
    """Returns the name of the id column; one that is a name of the table's own becomes ``unit_`` and that name."""
    own = {"fold", "treatment", "value", "cost", "weight", "propensity"}
    return f"unit_{name}" if name in own or name.startswith(("decision_", "counts_")) else name
