"""`write_policy`: a policy's ONNX form and its description, beside the saved policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse.errors import DataError, MissingDependency, StoreError
from largesse.frames import Encoder
from largesse.frames.columns import Kind
from largesse.frames.encoder import Levels
from largesse.menu import Menu
from largesse.policy.deployed import Policy
from largesse.serving.graph.builder import IR, OPSET, TREES
from largesse.serving.graph.features import described, example_cells, missing_mark
from largesse.serving.graph.models import members_of
from largesse.serving.graph.policy import graph_of
from largesse.serving.policy import ABOUT, FORMAT, MODEL, ServedPolicy, about_digest
from largesse.serving.stand_in import policy_digest, stand_in

__all__ = ["write_policy"]

_COMPARED, _TOLERANCE = 1000, 1e-5  # rows on which the menus are compared; difference in units of the amounts
_OTHER = 0.01  # at most so many rows may differ: those that rounding sends to another leaf or cluster


def write_policy(
    policy: Policy, folder: Path, *, x: NDArray[Any], price: float | None = None, units: Mapping[str, str] | None = None
) -> str:
    """Writes ``policy.onnx`` and ``policy.json``; returns a sentence that says why not, ``""`` where they are written.

    Before they stay, the menu of the ONNX form is compared with that of the model.

    Args:
        policy: A policy with an encoder, which the folder has already under the name ``policy``.
        folder: The folder.
        x: Encoded features of some rows, (N, d), on which the menus are compared.
        price: Price at which everybody gets what pays; None: not known.
        units: Units of value and money.
    """
    assert policy.encoder is not None, "a run has an encoder"
    try:
        model = graph_of(policy.model, policy.encoder)
        about = _about(policy, policy.encoder, model, folder, price, units or {})
        (folder / MODEL).write_bytes(model)
        text = json.dumps(about, indent=1, allow_nan=False, ensure_ascii=False)
        (folder / ABOUT).write_text(text + "\n", encoding="utf-8", newline="\n")
        ServedPolicy.load(folder)
        _compare(stand_in(folder).predict(x[:_COMPARED]), policy.model.predict(x[:_COMPARED]))
    except (MissingDependency, DataError, StoreError) as error:
        for name in (MODEL, ABOUT):
            (folder / name).unlink(missing_ok=True)
        return f"{MODEL} was not written: {error}"
    return ""


def _about(
    policy: Policy, encoder: Encoder, model: bytes, folder: Path, price: float | None, units: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the content of ``policy.json``."""
    if not policy.model.menu_in_currency:
        price, units = None, {**units, "money": "treatments"}
    rows = example_cells(encoder)
    menu = policy.model.predict(encoder.transform(_table(encoder, rows)))
    about = {
        "format": FORMAT, "package": version("largesse"), "model_sha256": hashlib.sha256(model).hexdigest(),
        "policy_sha256": policy_digest(folder / "policy"), "opset": OPSET, "opset_of_trees": TREES, "ir": IR,
        "columns": [c._asdict() | {"levels": list(c.levels)} for c in described(encoder)], "missing": missing_mark(encoder),
        "features": list(encoder.names), "treatments": list(menu.treatments), "control": menu.treatments[0],
        "members": list(members_of(policy.model)), "price": price, "units": dict(units), "rows": rows,
        "menu": {"value": menu.value.astype(float).tolist(), "cost": menu.cost.astype(float).tolist()},
    }  # fmt: skip
    about["sha256"] = about_digest(about)
    return about


def _table(encoder: Encoder, rows: Mapping[str, list[Any]]) -> pa.Table:
    """Returns the example rows as a table of the kinds that the encoder reads."""
    kinds = {Kind.DATE: pa.date32(), Kind.DURATION: pa.duration("s"), Kind.NUMBER: pa.float64()}
    columns = {}
    for column in encoder.columns:
        cells = rows[column.name]
        if isinstance(column, Levels):
            columns[column.name] = pa.array(cells, pa.string())
            continue
        scale = {Kind.DATE: 1, Kind.DURATION: 86_400}.get(column.kind)
        whole = cells if scale is None else [None if cell is None else int(cell) * scale for cell in cells]
        columns[column.name] = pa.array(whole, pa.int32() if column.kind is Kind.DATE else None).cast(
            kinds[column.kind]
        )
    return pa.table(columns)


def _compare(served: Menu, own: Menu) -> None:
    """Raises StoreError if more than a few rows of two menus differ by more than rounding."""
    off = np.zeros(own.n, np.bool_)
    for a, b in ((served.value, own.value), (served.cost, own.cost)):
        scale = np.abs(b) + np.abs(b).mean()
        off |= ~(np.abs(a.astype(np.float64) - b) <= _TOLERANCE * scale).all(1)
    if off.mean() > _OTHER:
        raise StoreError(f"the menu of {off.sum()} of {own.n} rows differs from the model's own. Please report it.")
