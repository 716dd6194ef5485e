"""A run in service: its version, the features of one unit as a row, and the menus of many rows in one call of the model."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from math import inf, nan
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._files import read_entries
from largesse.errors import DataError, SchemaError, StoreError
from largesse.serving.cells import Column
from largesse.serving.increments import best_treatments
from largesse.serving.policy import ABOUT, ServedPolicy, best_treatment
from largesse.serving.session import CHUNK, LARGEST

__all__ = ["Loaded", "Row", "Why", "cell_of", "load_run", "same_menu", "why", "whys"]


class Row(NamedTuple):
    """What the model reads of one unit.

    Attributes:
        numbers: Cells of the columns of numbers, dates (days) and durations (days); NaN is missing.
        labels: Cells of the columns of text.
    """

    numbers: array[float]
    labels: tuple[str, ...]


class Loaded:
    """The policy of a run, as a server uses it.

    Args:
        run: The run folder.
        version: Name of the run and hash of its description, e.g. "spring-1a2b3c4d5e".
        policy: The policy.
    """

    def __init__(self, run: Path, version: str, policy: ServedPolicy) -> None:
        self.run, self.version, self.policy = run, version, policy
        self._numbers = [column for column in policy.columns if column.kind != "text"]
        self._labels = [column for column in policy.columns if column.kind == "text"]
        self._get = _getter([column.name for column in self._numbers])

    def row(self, features: Mapping[str, Any]) -> Row:
        """Returns the cells that the model reads.

        Raises:
            SchemaError: A column is missing, or a cell is of another kind than in training.
        """
        mark = self.policy.missing
        try:
            cells = self._get(features)
            labels = tuple([cell_of(column, features[column.name], mark) for column in self._labels])
        except KeyError:
            for column in self.policy.columns:
                if column.name not in features:
                    raise self.policy._lacks(column.name, features) from None
            raise
        try:
            return Row(array("d", cells), labels)
        except (TypeError, OverflowError):  # not all are plain numbers; most often some are missing
            pass
        try:
            return Row(array("d", [nan if cell is None else cell for cell in cells]), labels)
        except (TypeError, OverflowError):
            plain = [cell_of(column, cell, mark) for column, cell in zip(self._numbers, cells, strict=True)]
            return Row(array("d", plain), labels)

    def menus(self, rows: Sequence[Row]) -> tuple[list[list[float]], list[list[float]]]:
        """Returns the predicted value and cost of every treatment for each row, (N, M) each.

        Raises:
            StoreError: The model fails, or predicts what no menu may have.
        """
        value, cost = self.tables(self.feed(rows))
        return value.tolist(), cost.tolist()

    def tables(self, feed: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the predicted value and cost of every treatment for rows that are the inputs of the model, (N, M) each.

        Raises:
            StoreError: The model fails, or predicts what no menu may have.
        """
        return self.tables_and_votes(feed, None)[:2]

    def tables_and_votes(
        self, feed: Mapping[str, NDArray[Any]], price: float | None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        """Returns `tables`, and the share of the ensemble by which each treatment is best at a price, (N, M).

        Args:
            feed: The inputs of the model.
            price: Shadow price of the votes; None: there are none, as where the policy is no ensemble.
            allowed: Which treatments each unit may get, (N, M); None: all.

        Raises:
            StoreError: The model fails, or predicts what no menu may have.
        """
        voting = price is not None and bool(self.policy.members)
        names = ["value", "cost", *(("member_value", "member_cost") if voting else ())]
        value, cost, *members = self._outputs(names, feed)
        if not (np.isfinite(value).all() and np.isfinite(cost).all() and cost.min() >= 0):
            raise StoreError(f"{self.run}: the model predicts a value that is not finite, or a negative cost.")
        if price is None or not voting:
            return value, cost, None
        return value, cost, self.policy.voted(members[0], members[1], price, allowed)

    def _outputs(self, names: list[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float64]]:
        n = len(next(iter(feed.values())))
        parts = [
            self.policy.session.run(
                names, {"price": np.zeros(1)} | {k: cells[i : i + CHUNK] for k, cells in feed.items()}
            )
            for i in range(0, n, CHUNK)
        ]
        return [np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True)]

    def feed(self, rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Returns rows as the inputs of the model, (N, 1) each."""
        feed: dict[str, NDArray[Any]] = {}
        table = np.frombuffer(b"".join([row.numbers.tobytes() for row in rows])).reshape(len(rows), len(self._numbers))
        for column, cells in zip(self._numbers, np.ascontiguousarray(table.T), strict=True):
            feed[column.input] = cells[:, None]
        for k, column in enumerate(self._labels):
            feed[column.input] = np.array([row.labels[k] for row in rows], object)[:, None]
        return feed


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Returns a function that returns the cells of some columns."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda features: tuple(features[name] for name in names)


def load_run(folder: Path) -> Loaded:
    """Returns the policy of a run folder, after it has computed the menu of the stored rows again.

    Raises:
        StoreError: The folder has no ONNX form, or it is damaged.
    """
    policy = ServedPolicy.load(folder)
    digest = hashlib.sha256(read_entries(folder / ABOUT, LARGEST)).hexdigest()[:10]
    return Loaded(folder, f"{folder.resolve().name[:80]}-{digest}", policy)


def cell_of(column: Column, cell: Any, mark: str) -> Any:
    """Returns one cell as the model reads it; dates may be text, as JSON has them."""
    if column.kind == "text" and type(cell) is str:
        return cell.strip()
    if column.kind == "date" and isinstance(cell, str):
        try:
            cell = date.fromisoformat(cell) if len(cell) <= len("2026-12-31") else datetime.fromisoformat(cell)
        except ValueError:
            rule = "is no date or time as ISO 8601 has them"
            raise _check.refuse(
                column.name, cell, rule, "Give e.g. 2026-12-31 or 2026-12-31T18:00:00Z.", SchemaError
            ) from None
    try:
        return column.one(cell, mark)[0, 0]
    except OverflowError:
        raise _check.refuse(
            column.name, cell, "is too large for a number", "Give it as text if it is an id.", SchemaError
        ) from None


class Why(msgspec.Struct, frozen=True, gc=False):
    """Why the policy chooses a treatment at a price.

    Attributes:
        treatment: The policy's treatment; a unit of the holdout or of the exploration may get another one.
        runner_up: The treatment with the next highest net value (value - price · cost); None: only one is allowed.
        margin: By how much its net value is lower.
        switch_price: The nearest price at which the policy's treatment changes; None: it is the same at every price.
    """

    treatment: str
    runner_up: str | None
    margin: float | None
    switch_price: float | None


def why(
    value: Sequence[float], cost: Sequence[float], price: float, codes: Sequence[int], treatments: Sequence[str]
) -> Why:
    """Returns why the policy chooses its treatment.

    >>> why([0.0, 1.0, 3.0], [0.0, 1.0, 4.0], 0.5, (0, 1, 2), ("none", "5 off", "20 off"))
    Why(treatment='20 off', runner_up='5 off', margin=0.5, switch_price=0.6666666666666666)
    """
    best = best_treatment(value, cost, price, codes)
    v, c = value[best], cost[best]
    second, net, below, above = -1, -inf, inf, -1.0
    for j in codes:  # once, without functions: this is done for every decision
        if j == best:
            continue
        gain, extra = value[j] - v, cost[j] - c
        if gain - price * extra > net or (gain - price * extra == net and cost[j] < cost[second]):
            second, net = j, gain - price * extra
        if extra < 0 and gain / extra < below:  # the smallest return on the way down to a cheaper treatment
            below = gain / extra
        elif extra > 0 and gain > 0 and gain / extra > above:  # the highest on the way up
            above = gain / extra
    if second < 0:
        return Why(treatments[best], None, None, None)
    edges = [p for p in (below, above) if 0 <= p < inf]
    nearest = min(edges, key=lambda p: abs(p - price)) if edges else None
    return Why(treatments[best], treatments[second], -net, nearest)


def whys(
    value: NDArray[np.float64], cost: NDArray[np.float64], price: NDArray[np.float64], treatments: Sequence[str]
) -> list[Why]:
    """Returns why the policy chooses the treatment of each unit, as `why` where all treatments are allowed.

    Args:
        value: Predicted values, (n, M).
        cost: Predicted costs, (n, M).
        price: Shadow prices λ, (n,).
        treatments: Names of the M treatments.
    """
    best, rows = best_treatments(value, cost, price), np.arange(len(value))
    gain, extra = value - value[rows, best][:, None], cost - cost[rows, best][:, None]
    net = gain - price[:, None] * extra
    net[rows, best] = -inf
    second = np.where(net == net.max(axis=1, keepdims=True), cost, inf).argmin(axis=1)
    slope = np.divide(gain, extra, out=np.full_like(gain, nan), where=extra != 0)
    below = np.where(extra < 0, slope, inf).min(axis=1)
    above = np.where((extra > 0) & (gain > 0), slope, -1.0).max(axis=1)
    low, high = (np.where((edge >= 0) & (edge < inf), np.abs(edge - price), inf) for edge in (below, above))
    edge = np.where(low <= high, below, above)
    known = np.isfinite(np.minimum(low, high))
    return [
        Why(treatments[j], treatments[k], margin, at if sure else None)
        for j, k, margin, at, sure in zip(
            best.tolist(), second.tolist(), (-net[rows, second]).tolist(), edge.tolist(), known.tolist(), strict=True
        )
    ]


def same_menu(treatments: Sequence[str], policy: ServedPolicy, name: str) -> None:
    """Raises DataError unless a policy has the treatments of a campaign, in their order."""
    if tuple(policy.treatments) != tuple(treatments):
        rule = f"has the treatments {', '.join(policy.treatments)}, campaign {name!r} has {', '.join(treatments)}"
        raise DataError(f"run: {rule}. Serve a run with the same treatments, or start another campaign.", field="run")
