"""The rows of a trial or of past campaign data (OBS log), as one frozen and validated set of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._random import Seed, generator
from largesse._shares import Assignment, assignment_of, propensities_by_row, shares_of
from largesse.errors import DataError
from largesse.result import Framed

__all__ = ["Assignment", "Design", "Logs", "labels"]

Design = Literal["rct", "obs"]
_OPTIONAL = ("unit", "cluster", "weight", "timestamp")
_NOT_COMPUTED = ...  # a copy in another process is the same object
_SURELY = 8.0  # standard errors: beyond any number of checks
Propensity = Literal["uniform", "observed"] | Mapping[str, float] | Sequence[float] | NDArray[Any] | None
"""What `Logs` accepts as propensity: a rule, a share per arm, one probability per row, or None where unknown."""


def labels(treatments: Sequence[str], n: int) -> tuple[str, ...]:
    """Returns the names of the n treatments, control first; ``"0", "1", ...`` if none are given."""
    if not isinstance(treatments, Iterable):
        raise _check.refuse("treatments", treatments, "must be a list of names", "Name them, control first.")
    names = tuple(str(name) for name in treatments) or tuple(str(j) for j in range(n))
    if len(names) < 2:
        rule, remedy = "at least two are needed, control first", "Add the rows of the other arm (control included)."
        raise _check.refuse("treatments", names, rule, remedy)
    if len(set(names)) < len(names):
        raise _check.refuse("treatments", names, "names must differ", "Rename the repeated one.")
    if not all(name.strip() for name in names):
        raise _check.refuse("treatments", names, "every treatment needs a name", "Name the blank one.")
    return names


def frozen(values: NDArray[Any]) -> NDArray[Any]:
    """Returns a read-only view; the given array stays writable."""
    view = values.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Logs(Framed):
    """Rows (x, treatment, value, cost) of units, and how the treatments were assigned.

    Attributes:
        x: Encoded features, float32 (N, d), finite.
        treatment: Code of the treatment taken, int32 (N,), in 0..M-1; 0 is control.
        value: Outcome of the unit (orders, revenue), float64 (N,).
        cost: Spend on the unit, float64 (N,), >= 0; 0 in control unless `control_cost`.
        treatments: Names of the M treatments, control first.
        features: Names of the d features.
        design: ``"rct"`` (assigned at random, one probability per arm) or ``"obs"`` (assigned by a past policy).
        propensity: Probability of the treatment taken, float64 (N,), or None if unknown. Give ``"uniform"`` (1/M),
            ``"observed"`` (the shares of the arms in these rows; the default for a trial), a mapping from name to
            planned share, or an array with one entry per row.
        assignment: How the propensities were obtained (derived from `propensity` and `design`).
        unit: Unit ids (N,), optional. `parts` and `split` keep all rows of a unit in one part.
        cluster: Ids of clusters of units that were randomised together or are alike (household, shop, city and week), (N,),
            optional. They stand for the units wherever rows are split, drawn or counted; a unit is in one cluster.
        weight: Row weights, float64 (N,), > 0, optional: weight 2 equals the row given twice.
        timestamp: Times (N,), optional.
        control_cost: Whether control rows may have costs; costs are then compared with those of control.
        encoder: The `Encoder` that made x of a table, so that models predict for tables; None for rows from arrays.
        roles: The `Roles` of the columns of that table.

    Raises:
        DataError: A field violates a rule above; the message names the first cell, the count and the next step.

    >>> logs = Logs(x=[[0.0], [1.0], [2.0], [3.0]], treatment=[0, 1, 0, 1], value=[0, 1, 1, 1], cost=[0, 2, 0, 2])
    >>> logs.n, logs.n_treatments, logs.propensity.tolist()
    (4, 2, [0.5, 0.5, 0.5, 0.5])
    """

    _hidden: ClassVar[tuple[str, ...]] = ("encoder", "roles")
    _pictured: ClassVar[bool] = True
    x: NDArray[np.float32]
    treatment: NDArray[np.int32]
    value: NDArray[np.float64]
    cost: NDArray[np.float64]
    treatments: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    design: Design = "rct"
    propensity: Any = None
    unit: NDArray[Any] | None = None
    cluster: NDArray[Any] | None = None
    weight: NDArray[np.float64] | None = None
    timestamp: NDArray[Any] | None = None
    control_cost: bool = False
    encoder: Any = None
    roles: Any = None
    assignment: Assignment = field(init=False, default="unknown")
    _groups: Any = field(init=False, default=_NOT_COMPUTED, repr=False)

    if TYPE_CHECKING:  # what the constructor accepts; the fields above are what it stores

        def __init__(
            self, *, x: ArrayLike, treatment: ArrayLike, value: ArrayLike, cost: ArrayLike,
            treatments: Sequence[str] = (), features: Sequence[str] = (), design: Design = "rct",
            propensity: Propensity = None, unit: ArrayLike | None = None, cluster: ArrayLike | None = None,
            weight: ArrayLike | None = None, timestamp: ArrayLike | None = None, control_cost: bool = False,
            encoder: Any = None, roles: Any = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        _check.choice("design", self.design, ("rct", "obs"))
        for name, dtype in (("x", np.float32), ("value", np.float64), ("cost", np.float64), ("weight", np.float64)):
            if getattr(self, name) is not None:
                rows = _check.array(name, getattr(self, name), ndim=2 if name == "x" else 1, dtype=dtype)
                whole = _check.finite if name == "x" else _check.amounts
                whole(name, rows, "Drop or fill these rows (largesse.read fills features for you).")
                put(name, frozen(rows))
        for name in ("unit", "cluster", "timestamp"):
            if getattr(self, name) is not None:
                put(name, frozen(np.asarray(getattr(self, name))))
        put("treatment", frozen(self._codes()))
        put("treatments", labels(self.treatments, max(2, int(self.treatment.max()) + 1)))
        put("features", tuple(self.features) or tuple(f"x{k}" for k in range(self.x.shape[1])))
        _check.lengths(x=self.x, treatment=self.treatment, value=self.value, cost=self.cost, unit=self.unit,
                       cluster=self.cluster, weight=self.weight, timestamp=self.timestamp)  # fmt: skip
        self._rules()
        put("assignment", assignment_of(self.propensity, self.design))
        put("propensity", None if self.assignment == "unknown" else frozen(self._propensities()))

    def _propensities(self) -> NDArray[np.float64]:
        if self.assignment == "rows":
            return propensities_by_row(self.propensity, self.treatment, self.n_treatments, self.design)
        if self.assignment == "uniform":
            shares = np.full(self.n_treatments, 1.0 / self.n_treatments)
        elif self.assignment == "observed":
            shares = np.bincount(self.treatment, self.weight, minlength=self.n_treatments) / self.total_weight
        else:
            shares = shares_of(self.propensity, self.treatments)
        return shares[self.treatment]

    def _codes(self) -> NDArray[np.int32]:
        top = len(self.treatments) or 2**31 - 1
        return _check.integers(
            "treatment", self.treatment, low=0, high=top, rule=f"must be a treatment code in 0..{top - 1}, 0 is control",
            remedy="Name every treatment in `treatments=`, control first.",
        )  # fmt: skip

    def _rules(self) -> None:
        _check.nonnegative("cost", self.cost)
        if self.weight is not None and (self.weight <= 0).any():
            raise _check.refuse_cells("weight", self.weight, self.weight <= 0, "must be > 0", "Drop rows of weight 0.")
        if len(self.features) != self.x.shape[1]:
            rule = f"x has {self.x.shape[1]} columns"
            raise _check.refuse("len(features)", len(self.features), rule, "Name each one.")
        if len(set(self.features)) < len(self.features):
            twice = next(name for name in self.features if self.features.count(name) > 1)
            raise _check.refuse("features", twice, "names must differ", "Rename or drop the repeated one.")
        if self.encoder is not None and tuple(getattr(self.encoder, "names", ())) != self.features:
            raise _check.refuse(
                "features", self.features[:5], "the encoder has others", "Give its names, or no encoder."
            )
        spent = (self.treatment == 0) & (self.cost > 0)
        if spent.any() and not self.control_cost:
            raise _check.refuse_cells(
                "cost", self.cost, spent, "a control row must cost nothing",
                "Check the control code. If control rows do have costs, set `control_cost=True`.",
            )  # fmt: skip
        for j, rows in enumerate(self.arm_rows):
            if rows == 0 and self.design == "rct":  # a past policy may never have used an arm
                raise DataError(
                    f"treatment: no row has {self.treatments[j]!r}, every arm needs rows. "
                    "Drop the name from `treatments=`, or add its rows.", field="treatment",
                )  # fmt: skip

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.treatment)

    @property
    def n_treatments(self) -> int:
        """Number of treatments M, control included."""
        return len(self.treatments)

    @property
    def arm_rows(self) -> NDArray[np.int64]:
        """Rows per treatment, (M,)."""
        return np.bincount(self.treatment, minlength=self.n_treatments)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Row weights (N,), all 1 if none were given."""
        return np.ones(self.n) if self.weight is None else self.weight

    @property
    def total_weight(self) -> float:
        """Sum of the row weights: the number of units that the rows represent."""
        return float(self.n if self.weight is None else self.weight.sum())

    @property
    def inverse_propensity(self) -> NDArray[np.float64]:
        """Inverse-propensity weights: weight / propensity, float64 (N,).

        Raises:
            DataError: The propensities are unknown.
        """
        if self.propensity is None:
            raise DataError(
                "propensity: unknown, so these rows cannot evaluate another policy. "
                "Use the rows of a randomised trial (design='rct'), or give the logged propensities.",
                field="propensity",
            )
        return self.weights / self.propensity

    @property
    def propensity_excess(self) -> NDArray[np.float64]:
        """By arm, Σ weight / propensity over its rows less Σ weight over all rows, in standard errors, float64 (M,).

        About standard normal where the propensities are right; infinite for an arm that no row could have missed, or that
        none got; NaN unless the propensities were given by row.
        """
        m = self.n_treatments
        if self.assignment != "rows" or self.propensity is None:
            return np.full(m, np.nan)
        p, w = self.propensity, self.weights
        excess = np.bincount(self.treatment, w / p, minlength=m) - self.total_weight
        excess[np.abs(excess) <= 1e-9 * self.total_weight] = 0.0
        if self.groups is None:
            # Var Σ w/p = Σ_{all rows} w² (1 - p)/p, estimated by Σ_{arm} w² (1 - p)/p²
            error = np.sqrt(np.bincount(self.treatment, w**2 * (1 - p) / p**2, minlength=m))
        else:
            each = [self.by_group(w * ((self.treatment == j) / p - 1)) for j in range(m)]
            error = np.array([np.sqrt(sums @ sums) for sums in each])
            error[np.bincount(self.treatment, p < 1, minlength=m) == 0] = 0.0
        return np.divide(excess, error, out=np.copysign(np.where(excess == 0, 0.0, np.inf), excess), where=error > 0)

    def check_support(self) -> None:
        """Refuses propensities by row that surely are not those of the treatments that the rows got.

        Raises:
            DataError: Over the rows of an arm, Σ 1/p is more than 8 standard errors from the number of all rows.
        """
        z = self.propensity_excess
        if np.nan_to_num(np.abs(z), posinf=np.inf).max() > _SURELY:
            arm = int(np.argmax(np.abs(z)))
            share = float(self.inverse_propensity[self.treatment == arm].sum()) / self.total_weight
            raise DataError(
                f"propensity: over the rows of {self.treatments[arm]!r}, Σ 1/p is {share:.3g} times the number of all rows, "
                "but must be about 1. Either p is not the probability of the treatment that the row got, or some units could not "
                "get this one. Correct the column, or leave out the treatment or such units.", field="propensity",
            )  # fmt: skip

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Code of the cluster (else the unit) of each row, int64 (N,), in 0..G-1; None if no group has several rows.

        Rows of one group are dependent: every split keeps them on one side, and a bootstrap resamples them together.

        Raises:
            DataError: A unit has rows in two clusters.
        """
        if self._groups is _NOT_COMPUTED:
            codes = _codes(self.unit if self.cluster is None else self.cluster)
            units = None if self.cluster is None else _codes(self.unit)
            if units is not None and codes is not None:
                first = np.zeros(int(units.max()) + 1, np.int64)
                first[units] = codes
                if (astray := first[units] != codes).any():
                    rule = "the unit has rows in several clusters, but a cluster must hold whole units"
                    raise _check.refuse_cells(
                        "unit", np.asarray(self.unit), astray, rule, "Name a coarser cluster, or no unit."
                    )
            repeated = codes is not None and int(codes.max()) + 1 < self.n
            object.__setattr__(self, "_groups", frozen(codes) if repeated and codes is not None else None)
        return self._groups

    @checked
    def by_group(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the sums of values (N,) over the rows of each cluster (else unit), (G,); the values where all have one row."""
        return values if self.groups is None else np.bincount(self.groups, values).astype(np.float64)

    @checked
    def without_units_of(self, other: Logs) -> Logs:
        """Returns the rows whose units and clusters do not occur in `other`; all rows where there are no ids in both.

        Raises:
            DataError: Every unit or cluster occurs in `other`.
        """
        out = self
        for name in ("unit", "cluster"):
            own, others = getattr(out, name), getattr(other, name)
            if own is None or others is None:
                continue
            free = ~np.isin(own, others)
            if not free.any():
                raise _check.refuse(
                    name, own[0].item(), f"all {out.n} rows belong to {name}s that also occur in the held-out rows",
                    f"Use rows of other {name}s. If they are in fact different, give them different ids in the two files.",
                )  # fmt: skip
            out = out if free.all() else out.take(np.flatnonzero(free))
        return out

    def take(self, rows: NDArray[Any] | Sequence[int]) -> Logs:
        """Returns the logs of the selected rows (a boolean mask or row numbers), in that order."""
        rows = _check.selection(rows, self.n)
        names = ("x", "treatment", "value", "cost", *_OPTIONAL)
        selected = {k: None if getattr(self, k) is None else getattr(self, k)[rows] for k in names}
        return self._replaced(None if self.propensity is None else self.propensity[rows], selected)

    @checked
    def with_cost(self, cost: NDArray[Any]) -> Logs:
        """Returns the same rows with other costs, (N,)."""
        return self._replaced(self.propensity, {"cost": cost})

    def _replaced(self, propensity: NDArray[Any] | None, changes: dict[str, Any]) -> Logs:
        """Returns validated logs with some fields changed and the same `assignment`."""
        out = replace(self, propensity=self.assignment if self.assignment == "observed" else propensity, **changes)
        object.__setattr__(out, "assignment", self.assignment)
        return out

    def split(self, *shares: float, seed: Seed = 0) -> tuple[Logs, ...]:
        """Returns disjoint random parts, each with its share of every arm; all rows of a unit are in one part.

        Args:
            shares: Positive numbers, normalised to sum to one.
            seed: Seed of the random split.
        """
        part = self.parts(*shares, seed=seed)
        return tuple(self.take(np.flatnonzero(part == k)) for k in range(len(shares)))

    def parts(self, *shares: float, seed: Seed = 0) -> NDArray[np.int64]:
        """Returns the index of the part of each row in `split`, int64 (N,).

        A unit with rows in several arms is stratified by the rarest of them.
        """
        rng, cuts, groups = generator(seed), np.cumsum(shares) / np.sum(shares), self.groups
        if groups is None:
            arm, rows = self.treatment, np.ones(self.n, np.int64)
        else:
            rows = np.bincount(groups)
            by_rarity = np.argsort(-self.arm_rows, kind="stable")  # the rarest arm is written last
            arm = np.empty(len(rows), np.int32)
            for j in by_rarity:
                arm[groups[self.treatment == j]] = j
        part = np.empty(len(rows), np.int64)
        for j in range(self.n_treatments):
            units = rng.permutation(np.flatnonzero(arm == j))
            before = np.cumsum(rows[units])
            total = before[-1] if len(before) else 1
            part[units] = np.searchsorted(cuts[:-1], (before - rows[units] / 2) / total)
        return part if groups is None else part[groups]

    def _columns(self) -> Mapping[str, NDArray[Any]]:
        names = ("value", "cost", *_OPTIONAL, *(("propensity",) if self.assignment == "rows" else ()))
        named = {"treatment": np.array(self.treatments)[self.treatment]} | {name: getattr(self, name) for name in names}
        table = dict(zip(self.features, self.x.T, strict=True))
        if twice := sorted(set(table) & set(named)):
            raise _check.refuse("features", twice[0], "is the name of another column", "Rename the feature.")
        return table | {name: cells for name, cells in named.items() if cells is not None}

    def __or__(self, other: Logs) -> Logs:
        """Returns both logs as one OBS log, the rows of `self` first; propensities are kept if both logs have them."""
        if self.treatments != other.treatments or self.features != other.features:
            rule = "both logs need the same features and treatments"
            raise _check.refuse("features", other.features[:5], rule, "Encode both with one encoder.")
        known = self.propensity is not None and other.propensity is not None

        def both(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(self, name), getattr(other, name)])

        weighted = self.weight is not None or other.weight is not None
        return Logs(
            x=both("x"), treatment=both("treatment"), value=both("value"), cost=both("cost"), treatments=self.treatments,
            features=self.features, design="obs", propensity=both("propensity") if known else None,
            unit=_ids_of_both(self, other, "unit"), cluster=_ids_of_both(self, other, "cluster"),
            weight=both("weights") if weighted else None,
            control_cost=self.control_cost or other.control_cost, encoder=self.encoder, roles=self.roles,
        )  # fmt: skip


def _codes(ids: NDArray[Any] | None) -> NDArray[np.int64] | None:
    return None if ids is None else np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _ids_of_both(first: Logs, second: Logs, name: str) -> NDArray[Any] | None:
    """Returns the ids of two logs, concatenated; each row of a log without ids is a unit (or cluster) of its own."""
    one, two = getattr(first, name), getattr(second, name)
    if (one is None) == (two is None):
        return None if one is None else np.concatenate([one, two])
    one = np.arange(first.n) if one is None else np.unique(one, return_inverse=True)[1]
    two = np.arange(second.n) if two is None else np.unique(two, return_inverse=True)[1]
    return np.concatenate([one, two + first.n])
