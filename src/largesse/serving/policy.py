"""`ServedPolicy`: the menu and the decision of raw features from a run's ONNX form. Needs only onnxruntime and NumPy.

run/
  policy.onnx   a column each of raw features, and a price -> value and cost of every treatment, and the treatment
  policy.json   columns, treatments, units, and a few rows with their menu
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._files import read_bounded, read_entries
from largesse.errors import SchemaError, StoreError, why_damaged
from largesse.menu import Menu
from largesse.result import Brief
from largesse.roles import nearest
from largesse.serving.cells import Column
from largesse.serving.exploring import votes
from largesse.serving.session import CHUNK, LARGEST, Session, open_session

__all__ = ["ABOUT", "FORMAT", "MODEL", "Decision", "ServedPolicy", "about_digest", "best_treatment", "read_about"]

FORMAT = 1
MODEL, ABOUT = "policy.onnx", "policy.json"
_TOLERANCE = 1e-5
_KINDS = ("number", "text", "date", "duration")


class Decision(NamedTuple):
    """What one unit gets.

    Attributes:
        treatment: Name of the treatment.
        code: Its number in `ServedPolicy.treatments`.
        value: Predicted value of it.
        cost: Predicted cost of it.
    """

    treatment: str
    code: int
    value: float
    cost: float


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ServedPolicy(Brief):
    """The policy of a run in its ONNX form; several threads may use it at once.

    Attributes:
        columns: The columns of raw features that it reads.
        treatments: Names of the M treatments, control first.
        price: Shadow price λ at which everybody gets what pays, where the run declares what a unit of value brings; else None.
        units: Units of value and of money, as the run declares them.
        missing: Text that stands for a missing cell of text in the graph.
        session: The inference session.
        members: Weights of the B members of an ensemble, of sum 1; (): the policy is none.
    """

    columns: tuple[Column, ...]
    treatments: tuple[str, ...]
    price: float | None
    units: Mapping[str, str]
    missing: str
    session: Session
    members: tuple[float, ...] = ()

    @classmethod
    @checked
    def load(cls, folder: str | os.PathLike[str], *, threads: int = 1) -> ServedPolicy:
        """Returns the policy of a run folder, after it has computed the menu of the stored rows again.

        Args:
            folder: A run folder, or any folder with its `policy.onnx` and `policy.json`.
            threads: Threads per call; for throughput, prefer many concurrent calls with one thread each.

        Raises:
            MissingDependency: onnxruntime is not installed.
            StoreError: The folder has no ONNX form, or it is damaged or from a newer version.
        """
        place = Path(folder)
        about, model = read_about(place)
        session = open_session(place / MODEL, model, threads, "a run")
        policy = cls(
            columns=tuple(Column(**(c | {"levels": tuple(c["levels"])})) for c in about["columns"]),
            treatments=tuple(about["treatments"]), price=about["price"], units=about["units"],
            missing=about["missing"], session=session, members=tuple(map(float, about.get("members", ()))),
        )  # fmt: skip
        policy._check(place, about)
        return policy

    @checked
    def decide(
        self, features: Mapping[str, Any], price: float | None = None, *, allowed: Collection[str] | None = None
    ) -> Decision:
        """Returns the treatment of one unit: the argmax of value - price · cost; ties go to the cheaper treatment.

        Args:
            features: A cell for each column: numbers, text, dates and durations; None where it is missing.
            price: Shadow price λ, value per unit of spend, >= 0; None: `price` of the policy.
            allowed: Names of the treatments that the unit may get; None: all.

        Raises:
            SchemaError: A column is missing, or a cell is of another kind than in training.
            DataError: The price is no price, or a treatment is unknown.
        """
        at = self._price(price)
        codes = range(len(self.treatments)) if allowed is None else self._codes(allowed)
        feed = {}
        for column in self.columns:
            if column.name not in features:
                raise self._lacks(column.name, features)
            feed[column.input] = column.one(features[column.name], self.missing)
        feed["price"] = np.zeros(1)
        value, cost = (table[0].tolist() for table in self.session.run(["value", "cost"], feed))
        code = best_treatment(value, cost, at, codes)
        return Decision(self.treatments[code], code, value[code], cost[code])

    @checked
    def menu(self, columns: Mapping[str, Any]) -> Menu:
        """Returns the predicted value and cost of every treatment for many units.

        Args:
            columns: An array or a list of cells for each column, all of one length; others are ignored.

        Raises:
            SchemaError: A column is missing, of another length, or holds another kind than in training.
        """
        value, cost = self._run(["value", "cost"], columns, 0.0)
        return Menu(value=value, cost=cost, treatments=self.treatments)

    @checked
    def assign(self, columns: Mapping[str, Any], price: float | None = None) -> NDArray[np.int64]:
        """Returns the code of the treatment of each of many units, (N,); arguments as in `menu` and `decide`."""
        return self._run(["treatment"], columns, self._price(price))[0]

    @checked
    def votes(
        self, columns: Mapping[str, Any], price: float | None = None, *, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Returns the share of the ensemble by which each treatment is best for each unit, (N, M): weights for exploration.

        Args:
            columns: As in `menu`.
            price: As in `decide`.
            allowed: Which treatments each unit may get, (N, M); None: all.

        Raises:
            SchemaError: As in `menu`.
            DataError: The policy is no ensemble.
        """
        if not self.members:
            raise _check.refuse("members", (), "the model of this run is no ensemble", "Fit a stack, the default.")
        at = self._price(price)
        value, cost = self._run(["member_value", "member_cost"], columns, at)
        return self.voted(value, cost, at, allowed)

    def voted(
        self, value: NDArray[np.float64], cost: NDArray[np.float64], price: float, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.float64]:
        """Returns the votes of members with these menus, (N, B · M); see `votes`."""
        shape = len(value), len(self.members), len(self.treatments)
        value, cost = (table.reshape(shape).transpose(1, 0, 2) for table in (value, cost))
        return votes(value, cost if allowed is None else np.where(allowed, cost, np.inf), np.array(self.members), price)

    def _price(self, price: float | None) -> float:
        if price is None:
            if self.price is None:
                rule = "the run declares no value of one unit, so no price is known"
                raise _check.refuse("price", None, rule, "Give the price that `largesse allocate` prints.")
            return self.price
        return float("inf") if price == float("inf") else _check.number("price", price, low=0)

    def _codes(self, allowed: Collection[str]) -> list[int]:
        names = [allowed] if isinstance(allowed, str) else list(allowed)
        for name in names:
            if name not in self.treatments:
                hint = nearest(str(name), self.treatments)
                raise _check.refuse(
                    "allowed",
                    name,
                    f"must be among {', '.join(map(repr, self.treatments))}",
                    f"{hint}Choose from these.",
                )
        if not names:
            raise _check.refuse("allowed", names, "must name at least one treatment", "None allows all.")
        return sorted(self.treatments.index(name) for name in set(names))

    def _lacks(self, name: str, given: Collection[str]) -> SchemaError:
        hint = nearest(name, [str(one) for one in given])
        return SchemaError(
            f"column {name!r}: missing. {hint}The policy reads {', '.join(repr(c.name) for c in self.columns)}; give None "
            "(null in JSON) for a cell that is missing.", field=name,
        )  # fmt: skip

    def _run(self, outputs: list[str], columns: Mapping[str, Any], price: float) -> list[NDArray[Any]]:
        feed, n = {}, None
        for column in self.columns:
            if column.name not in columns:
                raise self._lacks(column.name, columns)
            feed[column.input] = cells = column.many(columns[column.name], self.missing)
            n = len(cells) if n is None else n
            if len(cells) != n:
                raise _check.refuse(
                    f"len({column.name})", len(cells), f"must be {n}, the length of {self.columns[0].name!r}",
                    "Give one cell per unit.", SchemaError,
                )  # fmt: skip
        if not n:
            raise _check.refuse("columns", 0, "must have at least one unit", "Give one cell per unit.", SchemaError)
        at = np.array([price])
        parts = [
            self.session.run(outputs, {name: cells[i : i + CHUNK] for name, cells in feed.items()} | {"price": at})
            for i in range(0, n, CHUNK)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _check(self, place: Path, about: Mapping[str, Any]) -> None:
        """Raises StoreError unless the model computes the stored menu of the stored rows."""
        try:
            inputs = {port.name: port.type for port in self.session.session.get_inputs()}
            types = {c.input: "tensor(string)" if c.kind == "text" else "tensor(double)" for c in self.columns}
            if inputs != types | {"price": "tensor(double)"}:
                raise ValueError(f"{MODEL} reads other columns than {ABOUT} names")
            menu = self.menu(about["rows"])
            for name, table in (("value", menu.value), ("cost", menu.cost)):
                stored = np.array(about["menu"][name], np.float64)
                scale = np.abs(stored) + np.abs(stored).mean()
                if stored.shape != table.shape or not (np.abs(table - stored) <= _TOLERANCE * scale).all():
                    raise ValueError(f"the {name} of the stored rows is not that of the run")
        except StoreError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{place}: is damaged ({why_damaged(error)}). Copy the whole folder again.") from error


def best_treatment(value: Sequence[float], cost: Sequence[float], price: float, codes: Sequence[int]) -> int:
    """Returns the treatment at the end of the last increment of the hull that is steeper than the price."""
    at, v, c = -1, 0.0, 0.0
    for j in codes:  # the cheapest, of these the best; without functions: this is done for every decision
        if at < 0 or cost[j] < c or (cost[j] == c and (value[j] > v or (value[j] == v and j < at))):
            at, v, c = j, value[j], cost[j]
    while True:
        best, steepest = -1, price
        for j in codes:
            gain, extra = value[j] - v, cost[j] - c
            if extra > 0 and gain > 0:
                slope = gain / extra
                if slope > steepest or (slope == steepest and best >= 0 and cost[j] > cost[best]):
                    best, steepest = j, slope
        if best < 0:
            return at
        at, v, c = best, value[best], cost[best]


def read_about(place: Path) -> tuple[dict[str, Any], bytes]:
    """Returns the description of a policy's ONNX form and the content of its model.

    Raises:
        StoreError: The folder has none, or it is damaged or from a newer version.
    """
    if os.path.isdir(place) and not os.path.exists(place / ABOUT):
        raise StoreError(
            f"{place}: has no {ABOUT}, so it is no run with an ONNX form. Fit it again where the extra is installed: "
            "pip install 'largesse[serve]'"
        )
    try:
        about = json.loads(read_entries(place / ABOUT, LARGEST))
        if int(about["format"]) > FORMAT:
            raise StoreError(
                f"{place / ABOUT}: written in format {about['format']}, this version reads up to {FORMAT}. Update largesse."
            )
        _check_about(about)
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        rest = f"is no description of a policy ({why_damaged(error)}). Give the folder that `largesse fit` made."
        raise StoreError(f"{place / ABOUT}: {rest}") from error
    model = read_bounded(place / MODEL, LARGEST)
    if hashlib.sha256(model).hexdigest() != about["model_sha256"]:
        raise StoreError(f"{place / MODEL}: is not the file that was saved. Copy the whole folder again.")
    return dict(about), model


def _check_about(about: dict[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError unless a server can decide by this description."""
    if about["sha256"] != about_digest(about):
        raise ValueError("its checksum differs")
    columns = [Column(**column) for column in about["columns"]]
    if not columns or any(column.kind not in _KINDS for column in columns):
        raise ValueError("a column is of an unknown kind")
    for name in ([c.name for c in columns], [c.input for c in columns], about["treatments"]):
        if len(set(name)) < len(name):
            raise ValueError("names must differ")
    if about["price"] is not None:
        _check.number("price", about["price"], low=0)


def about_digest(about: Mapping[str, Any]) -> str:
    """Returns the checksum of a description, without its own."""
    content = {name: about[name] for name in sorted(about) if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
