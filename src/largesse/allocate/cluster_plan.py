"""What each cluster of units gets: an integer programme in which money may be uncertain, for many budgets at once.

All units of a cluster get one treatment. How much that costs is known only as far as the cell of cluster k and treatment j
was measured: with n_k units, the total of a cell has the variance

    n_k² covariance_kj + n_k spread_kj

where covariance is that of the estimated mean, which all units share, and spread that between units. The program can
hold the expected spend against the budget, a normal quantile of the spend, or its mean in the worst scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import ndtr, ndtri

from largesse import _check
from largesse._random import Seed, generator
from largesse.allocate import cluster_programme
from largesse.allocate.budget_frontier import steps
from largesse.allocate.cluster_programme import CLOSED, Found, More, Totals, quantity
from largesse.errors import DataError, InfeasibleBudget
from largesse.logs import frozen, labels
from largesse.menu import Status
from largesse.result import Brief, Result

__all__ = ["Chance", "ClusterCells", "ClusterPlan", "Expected", "Split", "Tail", "plan_clusters"]

Floats = NDArray[np.float64]
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected spend stays within the budget: true spend exceeds a tight one about every second time."""


@dataclass(frozen=True, slots=True)
class Chance:
    """The spend exceeds the budget with at most this probability, if it is normal.

    Attributes:
        epsilon: The probability, in (0, 0.5].
    """

    epsilon: float = 0.05

    def __post_init__(self) -> None:
        _check.number("risk.epsilon", self.epsilon, low=1e-12, high=0.5, remedy="0.05 lets one period of twenty pass.")


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The mean spend of the worst scenarios stays within the budget (conditional value at risk).

    Attributes:
        share: Which share of the scenarios is the worst, in (0, 1].
        cost: Cost per unit of each cell in each scenario, (S, K, M), money >= 0; None: `draws` normal ones from the cells.
        draws: How many to draw; half of them are the mirror image of the others, so that their mean is the cells' own.
        seed: Draws them.
    """

    share: float = 0.1
    cost: NDArray[Any] | None = None
    draws: int = 200
    seed: Seed = 0

    def __post_init__(self) -> None:
        _check.number("risk.share", self.share, low=1e-6, high=1.0)
        _check.number("risk.draws", self.draws, low=2, high=100_000)
        if self.cost is not None:
            cost = _check.array("risk.cost", self.cost, ndim=3, dtype=np.float64)
            _check.finite("risk.cost", cost, "Drop these scenarios.")
            _check.nonnegative("risk.cost", cost)
            object.__setattr__(self, "cost", frozen(cost))


Risk = Expected | Chance | Tail


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ClusterCells(Brief):
    """What each treatment brings and costs per unit of each cluster, and how sure that is.

    Attributes:
        size: Units of each cluster that are to be treated, (K,), >= 0.
        value: Mean value per unit of each cell, (K, M).
        cost: Mean cost per unit of each cell, (K, M), money, >= 0.
        covariance: Covariance of the two estimated means, (K, M, 2, 2): value first, then cost; None: they are known.
        spread: Covariance of a unit's own value and cost in its cell, (K, M, 2, 2); None: all units are the mean.
        allowed: What a cluster's units may get, (K, M), at least one treatment each; None: everything.
        treatments: Names of the M treatments, control first.

    Raises:
        DataError: A rule above is broken, or a covariance is none.

    >>> cells = ClusterCells(size=[10, 20], value=[[0.0, 1.0], [0.0, 3.0]], cost=[[0.0, 2.0], [0.0, 2.0]])
    >>> [plan.treatment.tolist() for plan in plan_clusters(cells, [40.0, 60.0])]
    [[0, 1], [1, 1]]
    """

    size: Floats
    value: Floats
    cost: Floats
    covariance: Any = None
    spread: Any = None
    allowed: Any = None
    treatments: tuple[str, ...] = ()

    if TYPE_CHECKING:  # what the constructor accepts; the fields above are what it stores

        def __init__(
            self, *, size: ArrayLike, value: ArrayLike, cost: ArrayLike, covariance: ArrayLike | None = None,
            spread: ArrayLike | None = None, allowed: ArrayLike | None = None, treatments: Sequence[str] = (),
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        for name, ndim in (("size", 1), ("value", 2), ("cost", 2)):
            table = _check.array(name, getattr(self, name), ndim=ndim, dtype=np.float64)
            _check.finite(name, table, "Merge clusters of which too little is known.")
            object.__setattr__(self, name, frozen(table))
        _check.nonnegative("cost", self.cost, "Clip them; money that comes in belongs to value.")
        _check.nonnegative("size", self.size, "Count the units of each cluster.")
        _check.lengths(size=self.size, value=self.value, cost=self.cost)
        if self.value.shape != self.cost.shape:
            raise _check.refuse("cost.shape", self.cost.shape, f"must be {self.value.shape}", "One cost per value.")
        for name in ("covariance", "spread"):
            object.__setattr__(self, name, frozen(self._covariance(name)))
        object.__setattr__(self, "allowed", frozen(self._may_get()))
        object.__setattr__(self, "treatments", labels(self.treatments, self.value.shape[1]))

    def _covariance(self, name: str) -> Floats:
        shape = (*self.value.shape, 2, 2)
        if getattr(self, name) is None:
            return np.zeros(shape)
        table = _check.array(name, getattr(self, name), ndim=4, dtype=np.float64)
        if table.shape != shape:
            raise _check.refuse(f"{name}.shape", table.shape, f"must be {shape}", "Value first, then cost.")
        _check.finite(name, table, "Merge clusters of which too little is known.")
        room = table[..., 0, 0] * table[..., 1, 1] * (1 + 1e-9) - table[..., 0, 1] ** 2
        bad = (table[..., 0, 0] < 0) | (table[..., 1, 1] < 0) | (table[..., 0, 1] != table[..., 1, 0]) | (room < 0)
        if bad.any():
            raise _check.refuse_cells(
                name, table[..., 0, 1], bad, "is no covariance", "Compute all four of one sample."
            )
        return np.asarray(table)

    def _may_get(self) -> NDArray[np.bool_]:
        if self.allowed is None:
            return np.ones(self.value.shape, np.bool_)
        table = _check.array("allowed", self.allowed, ndim=2, dtype=np.bool_)
        if table.shape != self.value.shape:
            raise _check.refuse("allowed.shape", table.shape, f"must be {self.value.shape}", "One truth per cell.")
        if not table.any(1).all():
            k = int(np.argmin(table.any(1)))
            raise _check.refuse(f"allowed[{k}]", table[k].tolist(), "must allow a treatment", "Control is one.")
        return np.asarray(table)

    def parted(self, cluster: NDArray[Any], size: NDArray[Any], allowed: NDArray[Any]) -> ClusterCells:
        """Returns the cells of groups within the clusters: of units that may get different treatments.

        All groups of a cluster share the error of its means. A group of n units in a cluster of N gets the covariance
        n N covariance + n spread: that of one treatment for the whole cluster, which no other allocation exceeds.

        Args:
            cluster: The cluster of each group, (G,).
            size: Units of each group, (G,), > 0.
            allowed: What each may get, (G, M).
        """
        size = np.asarray(size, np.float64)
        whole = np.bincount(cluster, size, minlength=len(self.size))[cluster]
        return ClusterCells(
            size=size, value=self.value[cluster], cost=self.cost[cluster], spread=self.spread[cluster], allowed=allowed,
            covariance=self.covariance[cluster] * (whole / size)[:, None, None, None], treatments=self.treatments,
        )  # fmt: skip

    @property
    def variance(self) -> Floats:
        """Covariance of a cell's total value and total cost, (K, M, 2, 2)."""
        n = self.size[:, None, None, None]
        total: Floats = n**2 * self.covariance + n * self.spread
        return total

    def draw(self, draws: int, seed: Seed = 0) -> tuple[Floats, Floats]:
        """Returns total value and total cost of each cell in normal scenarios, (S, K, M) each; cells are independent.

        Every second scenario is the mirror image of the one before it.
        """
        half = generator(seed).normal(size=((draws + 1) // 2, *self.value.shape, 2))
        noise = np.stack([half, -half], 1).reshape(-1, *half.shape[1:])[:draws]
        s = self.variance
        sd = np.sqrt(s[..., 0, 0])
        tilt = np.divide(s[..., 0, 1], sd, out=np.zeros_like(sd), where=sd > 0)
        rest = np.sqrt(np.maximum(s[..., 1, 1] - tilt**2, 0))
        n = self.size[:, None]
        return n * self.value + sd * noise[..., 0], n * self.cost + tilt * noise[..., 0] + rest * noise[..., 1]


class Split(NamedTuple):
    """The one cluster of which only a share moves on.

    Attributes:
        cluster: Its number.
        treatment: What the share gets instead of the plan's treatment.
        share: The share of its units, in (0, 1).
    """

    cluster: int
    treatment: int
    share: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ClusterPlan(Result):
    """One treatment for each cluster at one budget.

    Attributes:
        treatment: Code of the treatment, int32 (K,).
        budget: Money for all clusters.
        value: Expected value of all units.
        spend: Expected spend.
        charged: What the rule of risk holds against the budget: the spend, its quantile, or its mean in the worst scenarios.
        overspends: Probability that the spend exceeds the budget, if it is normal.
        bound: No plan that obeys the same rules is worth more.
        status: How good the plan is; ``OPTIMAL`` up to a millionth of what is at stake: best less worst value, all clusters.
        split: The cluster that is split, if one is.
    """

    treatment: NDArray[np.int32]
    budget: float
    value: float
    spend: float
    charged: float
    overspends: float
    bound: float
    status: Status
    split: Split | None = None
    _computed: ClassVar[tuple[str, ...]] = ("gap",)

    @property
    def gap(self) -> float:
        """The most that a better plan could add, >= 0, in units of value."""
        return max(0.0, self.bound - self.value)


def plan_clusters(
    cells: ClusterCells, budgets: Sequence[float], *, risk: Risk | None = None, nested: bool = True, split: bool = False
) -> tuple[ClusterPlan, ...]:
    """Returns the best plan of clusters at each budget, with a certificate.

    Args:
        cells: What treatments bring and cost, and how sure that is.
        budgets: Money for all clusters together; the plans come in the same order.
        risk: `Expected` (the default), `Chance` or `Tail`.
        nested: A cluster's cost per unit never falls as the budget rises. Plans are made from the smallest budget up, each
            the best that spends on no cluster less than the one before it.
        split: One cluster may be split so that the budget is spent exactly; with `Expected` only, where the best such plan is
            the optimum of the linear programme. These plans are nested anyway.

    Raises:
        InfeasibleBudget: Even the plan that is charged least exceeds a budget; the message says by how much.
        DataError: A budget is not a number, scenarios do not suit the cells, or a split is asked for under a risk.

    Reference:
        Chance constraint: Charnes and Cooper 1959; worst scenarios: Rockafellar and Uryasev 2000. That clusters are given
        treatments by an integer stochastic program is from HRC; the forms are this library's.
    """
    risk = Expected() if risk is None else risk
    money = _check.array("budgets", budgets, ndim=1, dtype=np.float64)
    _check.finite("budgets", money, "Give money.")
    if split and not isinstance(risk, Expected):
        raise _check.refuse("split", split, "the variance of a split cluster is not linear", "Set risk=Expected().")
    rule = _Rule.of(cells, risk)
    done: dict[int, ClusterPlan] = {}
    floor = np.zeros(len(cells.size))
    for b in np.argsort(money, kind="stable"):
        totals = rule.totals._replace(allowed=cells.allowed & (cells.cost >= floor[:, None]))
        plan = _split(rule, float(money[b])) if split else _whole(rule, totals, float(money[b]))
        if nested and not split:
            floor = cells.cost[np.arange(len(floor)), plan.treatment]
        done[int(b)] = plan
    return tuple(done[b] for b in range(len(money)))


class _Rule(NamedTuple):
    """What the plans of all budgets share: sums, standard deviations that count, and scenarios (S, K, M) with their share."""

    totals: Totals
    q: float
    scenarios: Floats | None
    share: float

    @classmethod
    def of(cls, cells: ClusterCells, risk: Risk) -> _Rule:
        n = cells.size[:, None]
        totals = Totals(n * cells.value, n * cells.cost, cells.variance[..., 1, 1], cells.allowed)
        if isinstance(risk, Chance):
            return cls(totals, max(float(ndtri(1 - risk.epsilon)), 0.0), None, 1.0)
        if isinstance(risk, Expected):
            return cls(totals, 0.0, None, 1.0)
        if risk.cost is not None and risk.cost.shape[1:] != cells.value.shape:
            rule = f"must be (S, {cells.value.shape[0]}, {cells.value.shape[1]})"
            raise _check.refuse("risk.cost.shape", risk.cost.shape, rule, "One cost per cell and scenario.")
        drawn = cells.draw(risk.draws, risk.seed)[1] if risk.cost is None else risk.cost * n
        return cls(totals, 0.0, drawn, risk.share)

    def charged(self, treatment: NDArray[np.int32]) -> float:
        """Returns what a plan holds against the budget."""
        if self.scenarios is None:
            return cluster_programme.charged(self.totals, treatment, self.q)
        spend = np.sort(self.scenarios[:, np.arange(len(treatment)), treatment].sum(1))[::-1]
        worst = self.share * len(spend)
        part = np.clip(worst - np.arange(len(spend)), 0, 1)  # the last scenario counts in part
        return float(spend @ part / worst)


def _whole(rule: _Rule, totals: Totals, budget: float) -> ClusterPlan:
    if rule.scenarios is None:
        found = cluster_programme.best(totals, budget, rule.q)
        least = 0.0 if found else cluster_programme.cheapest(totals, rule.q)[1]
    else:
        found, least = _worst(rule, totals, budget)
    if found is None:
        raise InfeasibleBudget(budget, least)
    exact = found.bound - found.value <= CLOSED * totals.stake
    return _told(rule, budget, found, Status.OPTIMAL if exact else Status.WITHIN_GAP)


def _told(rule: _Rule, budget: float, found: Found, status: Status) -> ClusterPlan:
    spend, variance = quantity(rule.totals.spend, found.treatment), quantity(rule.totals.variance, found.treatment)
    above = float(spend > budget) if variance <= 0 else float(ndtr((spend - budget) / np.sqrt(variance)))
    return ClusterPlan(
        treatment=frozen(found.treatment), budget=budget, value=found.value, spend=spend,
        charged=rule.charged(found.treatment), overspends=above, bound=found.bound, status=status,
    )  # fmt: skip


def _worst(rule: _Rule, totals: Totals, budget: float) -> tuple[Found | None, float]:
    """Returns the best plan whose mean spend in the worst scenarios is within a budget; if there is none, the least such mean.

    η + 1 / (share S) Σ u_s <= B,   u_s >= Σ cost_skj z_kj - η,   u_s >= 0     (Rockafellar and Uryasev)
    """
    assert rule.scenarios is not None
    s = len(rule.scenarios)
    flat = rule.scenarios.reshape(s, -1)
    size = float(np.abs(flat).max()) or 1.0
    mean, lower = np.append(1.0, np.full(s, 1 / (rule.share * s))), np.append(-np.inf, np.zeros(s))  # of η and u
    first = sparse.csr_matrix(np.append(np.zeros(flat.shape[1]), mean)[None])
    ties = sparse.hstack([sparse.csr_matrix(flat / size), -np.ones((s, 1)), -sparse.eye(s)])
    slack = 0.0
    for _ in range(_TRIES):
        limits = np.append((budget - slack) / size, np.zeros(s))
        more = More(sparse.vstack([first, ties], format="csc"), limits, lower, np.zeros(s + 1))
        found = _in_time(cluster_programme.whole(totals, [], more))
        if found is None:
            break
        excess = rule.charged(found.treatment) - budget
        if excess <= 0:
            return found, 0.0
        slack += 2 * excess  # a solver's tolerance must break no rule
    more = More(ties.tocsc(), np.zeros(s), lower, mean)
    least = _in_time(cluster_programme.whole(totals._replace(value=np.zeros_like(totals.value)), [], more))
    assert least is not None
    return None, rule.charged(least.treatment)


def _in_time(found: Found | None) -> Found | None:
    if found is not None and not len(found.treatment):
        raise DataError("risk: no plan was found in time. Give fewer scenarios or clusters.", field="risk")
    return found


def _split(rule: _Rule, budget: float) -> ClusterPlan:
    """Returns the optimum of the linear programme: hull increments, steepest first, the one that breaks the budget in part."""
    totals = rule.totals
    found = steps(cluster_programme.menu_of(totals, totals.value, totals.spend))
    spent = np.append(0.0, np.cumsum(found.change(totals.spend))) + quantity(totals.spend, found.start)
    if spent[0] > budget:
        raise InfeasibleBudget(budget, float(spent[0]))
    k = int(np.searchsorted(spent, budget, side="right")) - 1
    plan = found.start.copy()
    plan[found.unit[:k]] = found.target[:k]
    value = quantity(totals.value, plan)
    whole = _told(rule, budget, Found(plan, value, value), Status.OPTIMAL)
    if k == len(found.slope) or whole.spend >= budget:
        return whole
    c, j = int(found.unit[k]), int(found.target[k])
    share = (budget - whole.spend) / float(found.change(totals.spend)[k])
    value += share * float(found.change(totals.value)[k])
    uncertain = quantity(totals.variance, plan) + totals.variance[c, j] > 0
    above = 0.5 if uncertain else 0.0  # the expected spend is the budget
    return replace(
        whole, value=value, spend=budget, charged=budget, bound=value, overspends=above, split=Split(c, j, share)
    )
