"""The proof of a run on disk: its held-out rows and out-of-fold predictions, so that any budget can be evaluated later."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import store
from largesse._files import PathLike
from largesse.commands.findings.segments import Grouped, grouped
from largesse.commands.held_out import Proof
from largesse.commands.proof_rules import POLICY
from largesse.errors import StoreError, why_damaged
from largesse.evaluate.paths import DecisionPath
from largesse.frames.encoder import Encoder
from largesse.logs import Logs
from largesse.menu import Menu

__all__ = ["KEPT", "KeptProof", "keep_proof"]

KEPT = "proof"
"""Name of the folder in a run folder."""
_KIND = "proof"
_GROUPS = 255  # of one column


class KeptProof(NamedTuple):
    """The held-out rows of a run and the predictions of its policy for them, made by models that did not use them.

    Attributes:
        logs: The rows, without features.
        menu: The predictions of the policy, of the models of several folds in step; under rules, its decisions at the budgets.
        groups: The rows by each column of the campaign, see `Grouped`.
    """

    logs: Logs
    menu: Menu | DecisionPath
    groups: tuple[Grouped, ...]

    @classmethod
    def load(cls, run: PathLike) -> KeptProof | None:
        """Returns the proof of a run folder; None where it has none, as those of earlier versions.

        Raises:
            StoreError: It is damaged.
        """
        place = Path(run) / KEPT
        if not place.exists():
            return None
        kind, settings, arrays = store.load(place)
        try:
            if kind != _KIND:
                raise ValueError(f"it holds a {kind}")
            names = tuple(settings["treatments"])
            logs = Logs(
                x=np.zeros((len(arrays["treatment"]), 1), np.float32), treatment=arrays["treatment"],
                value=arrays["value"], cost=arrays["cost"], treatments=names,
                propensity=arrays.get("propensity", "observed"),
                unit=arrays.get("unit"), cluster=arrays.get("cluster"), weight=arrays.get("weight"),
                control_cost=bool(settings["control_cost"]),
            )  # fmt: skip
            menu: Menu | DecisionPath
            if "decided" in arrays:
                menu = DecisionPath(decided=arrays["decided"], price=arrays["price"], treatments=names)
            else:
                menu = Menu(value=arrays["menu_value"], cost=arrays["menu_cost"], treatments=names)
            groups = tuple(
                Grouped(column, arrays[f"group_{k}"].astype(np.int64), tuple(levels))
                for k, (column, levels) in enumerate(settings["groups"])
            )
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(f"{place}: {why_damaged(error)}") from error
        return cls(logs, menu, groups)


def keep_proof(run: Path, proof: Proof, encoder: Encoder) -> None:
    """Writes the proof into a run folder.

    Args:
        run: The run folder.
        proof: The held-out rows with the predictions.
        encoder: How the columns of the campaign became features.

    Raises:
        StoreError: It cannot be written.
    """
    logs, menu = proof.logs, proof.menus[POLICY]
    arrays: dict[str, NDArray[Any]] = {"treatment": logs.treatment, "value": logs.value, "cost": logs.cost}
    if logs.assignment != "observed":
        arrays["propensity"] = logs.propensity
    for name in ("unit", "cluster"):
        if (ids := getattr(logs, name)) is not None:
            arrays[name] = np.unique(ids.astype(str), return_inverse=True)[1].astype(np.int64)
    if logs.weight is not None:
        arrays["weight"] = logs.weight
    if isinstance(menu, DecisionPath):
        arrays |= {"decided": menu.decided, "price": menu.price}
    else:
        arrays |= {"menu_value": menu.value, "menu_cost": menu.cost}
    several = [one for one in grouped(encoder, logs.x) if 1 < len(one.names) <= _GROUPS]
    arrays |= {f"group_{k}": one.code.astype(np.uint8) for k, one in enumerate(several)}
    settings = {
        "treatments": list(logs.treatments), "control_cost": logs.control_cost,
        "groups": [[one.column, list(one.names)] for one in several],
    }  # fmt: skip
    store.save(run / KEPT, _KIND, settings, arrays)
