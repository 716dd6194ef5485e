"""What `largesse.serving.export` wrote, on a server: features in, treatments out. Needs onnxruntime and NumPy, nothing else.

exported/
  model.onnx    features -> class and probabilities
  table.json    budgets, and the treatment of every class at each
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import MissingDependency, SchemaError, StoreError
from largesse.result import Brief

__all__ = ["FORMAT", "MODEL", "TABLE", "Served"]

FORMAT = 1
MODEL, TABLE = "model.onnx", "table.json"
_CHUNK = 1024  # units scored at once: stays in cache


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Served(Brief):
    """A classifier and its table of treatments. Safe to share between threads.

    Attributes:
        features: Names of the d features, in the order of the columns of x.
        treatments: Names of the M treatments, control first.
        units: How many units the budgets are for.
        budgets: Money for these units together, rising, (B,).
        treatment: Code of the treatment of every class at every budget, (B, K).
        session: The runtime's.
        only: How it is run: what was not asked for is not computed.
    """

    features: tuple[str, ...]
    treatments: tuple[str, ...]
    units: int
    budgets: NDArray[np.float64]
    treatment: NDArray[np.int32]
    session: Any
    only: Any

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> Served:
        """Returns what a folder holds.

        Args:
            folder: A folder made by `largesse.serving.export`.
            threads: Threads of one call; units are independent, so a server is better off with many calls at once.

        Raises:
            MissingDependency: onnxruntime is not installed.
            StoreError: The folder is missing, damaged or of a newer version.
        """
        place = Path(folder)
        table = _table(place / TABLE)
        try:
            model = (place / MODEL).read_bytes()
        except OSError as error:
            raise StoreError(f"{place / MODEL}: {error.strerror}. Copy the whole folder again.") from error
        if hashlib.sha256(model).hexdigest() != table["model_sha256"]:
            raise StoreError(f"{place / MODEL}: is not the file that was exported. Copy the whole folder again.")
        return cls(
            features=tuple(table["features"]), treatments=tuple(table["treatments"]), units=int(table["units"]),
            budgets=np.array(table["budgets"], np.float64), treatment=np.array(table["treatment"], np.int32),
            **_runtime(model, threads),
        )  # fmt: skip

    def decide(self, x: NDArray[Any], budget: float) -> NDArray[np.int32]:
        """Returns the treatment of each unit, (N,): its code in `treatments`.

        Args:
            x: Encoded features, (N, d), finite, in the order of `features`.
            budget: Money for `units` units; between two budgets of the table, the lower one's plan is used.

        Raises:
            DataError: The features cannot be read, or the budget is below the smallest of the table.
        """
        return self.plan(budget)[self.classes(x)]

    def plan(self, budget: float) -> NDArray[np.int32]:
        """Returns the treatment of each class, (K,), at the largest budget of the table that is within a budget."""
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
        _check.finite("x", rows, "Encode with the encoder of the fit, which fills missing values.")
        parts = [
            self.session.run([output], {"x": rows[i : i + _CHUNK]}, self.only)[0] for i in range(0, len(rows), _CHUNK)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _runtime(model: bytes, threads: int) -> dict[str, Any]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency("onnxruntime", "serve", "Serving") from error
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = int(_check.number("threads", threads, low=1, high=4096))
    how.inter_op_num_threads, how.log_severity_level = 1, 3
    only = onnxruntime.RunOptions()
    only.only_execute_path_to_fetches = True
    return {"session": onnxruntime.InferenceSession(model, how, providers=["CPUExecutionProvider"]), "only": only}


def _table(place: Path) -> dict[str, Any]:
    """Returns the table of a folder, or refuses."""
    try:
        found = json.loads(place.read_bytes())
        if int(found["format"]) > FORMAT:
            raise StoreError(
                f"{place}: written in format {found['format']}, this version reads up to {FORMAT}. Update largesse."
            )
        shape = np.array(found["treatment"]).shape
        if shape != (len(found["budgets"]), found["classes"]):
            raise ValueError(f"its table is {shape}, its budgets and classes say otherwise")
        return dict(found)
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{place}: is no table of an export ({error}). Give the folder that `export` made.") from error
