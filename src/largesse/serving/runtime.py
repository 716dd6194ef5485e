"""`Served`: treatments for encoded features from an exported folder. Needs only onnxruntime and NumPy.

exported/
  model.onnx    features -> class and probabilities
  table.json    budgets, and the treatment of every class at each budget
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._files import read_bounded, read_entries
from largesse.errors import SchemaError, StoreError, why_damaged
from largesse.result import Brief
from largesse.serving.session import CHUNK, LARGEST, Session, open_session

__all__ = ["FORMAT", "MODEL", "TABLE", "Served", "table_digest"]

FORMAT = 1
MODEL, TABLE = "model.onnx", "table.json"


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Served(Brief):
    """An exported classifier and its table of treatments; several threads may use it at once.

    Attributes:
        features: Names of the d features, in the order of the columns of x.
        treatments: Names of the M treatments, control first.
        units: Number of units that the budgets are for.
        budgets: Budgets for these units together, increasing, (B,).
        treatment: Code of the treatment of every class at every budget, (B, K).
        session: The inference session.
    """

    features: tuple[str, ...]
    treatments: tuple[str, ...]
    units: int
    budgets: NDArray[np.float64]
    treatment: NDArray[np.int32]
    session: Session

    @classmethod
    @checked
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> Served:
        """Returns the classifier and table in a folder made by `largesse.serving.export`.

        Args:
            folder: The exported folder.
            threads: Threads per call; for throughput, prefer many concurrent calls with one thread each.

        Raises:
            MissingDependency: onnxruntime is not installed.
            StoreError: The folder is missing, damaged or from a newer version.
        """
        place = Path(folder)
        table = _table(place / TABLE)
        model = read_bounded(place / MODEL, LARGEST)
        if hashlib.sha256(model).hexdigest() != table["model_sha256"]:
            raise StoreError(f"{place / MODEL}: is not the file that was exported. Copy the whole folder again.")
        return cls(
            features=tuple(table["features"]), treatments=tuple(table["treatments"]), units=int(table["units"]),
            budgets=np.array(table["budgets"], np.float64), treatment=np.array(table["treatment"], np.int32),
            session=_session(place / MODEL, model, threads, (len(table["features"]), table["classes"])),
        )  # fmt: skip

    def decide(self, x: NDArray[Any], budget: float) -> NDArray[np.int32]:
        """Returns the treatment of each unit, (N,): its code in `treatments`.

        Args:
            x: Encoded features, (N, d), finite, in the order of `features`.
            budget: Budget for `units` units; between two budgets of the table, the plan of the lower one is used.

        Raises:
            DataError: The features cannot be read, or the budget is below the smallest of the table.
        """
        return self.plan(budget)[self.classes(x)]

    def plan(self, budget: float) -> NDArray[np.int32]:
        """Returns the treatment of each class, (K,), at the largest budget of the table that is <= `budget`."""
        k = int(np.searchsorted(self.budgets, _check.number("budget", budget), side="right")) - 1
        if k < 0:
            rule = f"must be >= {self.budgets[0]:g}, the smallest budget of the table"
            raise _check.refuse("budget", budget, rule, "Export with a smaller budget, e.g. 0.")
        return self.treatment[k]

    def classes(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the class of each unit, (N,)."""
        return self._run("class", x)

    def probabilities(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the calibrated probability of every class, (N, K)."""
        return self._run("probability", x)

    def _run(self, output: str, x: NDArray[Any]) -> Any:
        rows = _check.array("x", x, ndim=2, dtype=np.float32)
        if rows.shape[1] != len(self.features):
            raise SchemaError(
                f"x.shape == {rows.shape}: the model reads {len(self.features)} features "
                f"({', '.join(self.features[:3])}, ...). Give them in that order.", field="x",
            )  # fmt: skip
        _check.finite("x", rows, "Encode with the encoder of the run, which fills missing values.")
        parts = [self.session.run([output], {"x": rows[i : i + CHUNK]})[0] for i in range(0, len(rows), CHUNK)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _session(place: Path, model: bytes, threads: int, shape: tuple[int, int]) -> Session:
    """Returns the session of a model that reads and gives so many features and classes."""
    opened = open_session(place, model, threads)
    try:
        (given,), outputs = opened.session.get_inputs(), {out.name: out.shape for out in opened.session.get_outputs()}
        found = (given.name, given.shape[-1], outputs["probability"][-1], "class" in outputs)
    except (ValueError, KeyError, IndexError) as error:
        raise StoreError(f"{place}: is no model of an export. Copy the whole folder again.") from error
    if found != ("x", *shape, True):
        rest = f"reads and gives {found[1]} features and {found[2]} classes, {TABLE} names {shape[0]} and {shape[1]}"
        raise StoreError(f"{place}: {rest}. Copy the whole folder again.")
    return opened


def _table(place: Path) -> dict[str, Any]:
    """Returns the table of a folder, or raises StoreError."""
    try:
        table = json.loads(read_entries(place, LARGEST))
        if int(table["format"]) > FORMAT:
            raise StoreError(
                f"{place}: written in format {table['format']}, this version reads up to {FORMAT}. Update largesse."
            )
        _check_table(table)
        return dict(table)
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        rest = f"is no table of an export ({why_damaged(error)}). Give the folder that `export` made."
        raise StoreError(f"{place}: {rest}") from error


def _check_table(table: dict[str, Any]) -> None:
    """Raises ValueError unless a server can decide by this table: names, codes, shapes, rising budgets, checksum."""
    if not isinstance(table["model_sha256"], str):
        raise ValueError("model_sha256 must be text")
    for name in ("features", "treatments"):
        names = table[name]
        if not (isinstance(names, list) and names and all(isinstance(one, str) and one for one in names)):
            raise ValueError(f"{name} must be a list of names")
        if len(set(names)) < len(names):
            raise ValueError(f"{name} must differ")
    whole = isinstance(table["classes"], int) and isinstance(table["units"], int)
    if not whole or table["classes"] < 1 or table["units"] < 1:
        raise ValueError("classes and units must be whole numbers > 0")
    budgets, codes = np.array(table["budgets"], np.float64), np.array(table["treatment"])
    shape = (len(table["budgets"]), table["classes"])
    if budgets.ndim != 1 or codes.shape != shape:
        raise ValueError(f"the treatments have shape {codes.shape}, expected (budgets, classes) == {shape}")
    if not (np.isfinite(budgets).all() and (np.diff(budgets) > 0).all()):
        raise ValueError("budgets must be finite and rise")
    if codes.dtype.kind != "i" or codes.min() < 0 or codes.max() >= len(table["treatments"]):
        raise ValueError(f"codes of treatments must be in 0..{len(table['treatments']) - 1}")
    if "table_sha256" in table and table["table_sha256"] != table_digest(table):
        raise ValueError("its checksum differs: it is not the table that was exported")


def table_digest(table: Mapping[str, Any]) -> str:
    """Returns the checksum of a table, without its own."""
    content = {name: table[name] for name in sorted(table) if name != "table_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
