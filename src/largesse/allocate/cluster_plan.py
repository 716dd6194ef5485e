"""One treatment for each cluster of units: an integer programme under an uncertain spend, for many budgets.

The mean value and cost of each cell (cluster k, treatment j) are estimates. With n_k units, the total of a cell has the
covariance matrix

    n_k² covariance_kj + n_k spread_kj

where `covariance` is that of the estimated means, common to all units, and `spread` that between units. The budget can bound
the expected spend, a normal quantile of the spend, or its mean in the worst scenarios (conditional value at risk).
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
from largesse._arguments import checked
from largesse._random import Seed, generator
from largesse.allocate import cluster_programme
from largesse.allocate.budget_frontier import steps
from largesse.allocate.cluster_programme import CLOSED, Bounded, More, Totals, quantity
from largesse.allocate.risk import Chance, Expected, Risk
from largesse.errors import DataError, InfeasibleBudget
from largesse.logs import frozen, labels
from largesse.menu import Status
from largesse.result import Brief, Result

__all__ = ["ClusterCells", "ClusterPlan", "Split", "plan_clusters"]

Floats = NDArray[np.float64]
_TRIES = 3


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ClusterCells(Brief):
    """Estimated value and cost per unit of each cluster and treatment, with their covariance.

    Attributes:
        size: Number of units of each cluster, (K,), >= 0.
        value: Mean value per unit of each cell, (K, M).
        cost: Mean cost per unit of each cell, (K, M), >= 0.
        covariance: Covariance of the two estimated means, (K, M, 2, 2): value first, then cost; None: zero.
        spread: Covariance of value and cost between the units of a cell, (K, M, 2, 2); None: zero.
        allowed: The treatments that a cluster may get, (K, M), at least one each; None: all.
        treatments: Names of the M treatments, control first.

    Raises:
        DataError: A rule above is broken, or a matrix is not a covariance.

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
            _check.finite(name, table, "Merge clusters with too few rows.")
            object.__setattr__(self, name, frozen(table))
        _check.nonnegative("cost", self.cost, "Clip them; income belongs to value.")
        _check.nonnegative("size", self.size, "Count the units of each cluster.")
        _check.lengths(size=self.size, value=self.value, cost=self.cost)
        self._table("cost", np.float64, self.value.shape, "One cost per value.")
        for name in ("covariance", "spread"):
            object.__setattr__(self, name, frozen(self._covariance(name)))
        object.__setattr__(self, "allowed", frozen(self._allowed()))
        object.__setattr__(self, "treatments", labels(self.treatments, self.value.shape[1]))

    def _table(self, name: str, dtype: Any, shape: tuple[int, ...], remedy: str) -> NDArray[Any]:
        """Returns a field as an array of this shape, or refuses it."""
        table = _check.array(name, getattr(self, name), ndim=len(shape), dtype=dtype)
        if table.shape != shape:
            raise _check.refuse(f"{name}.shape", table.shape, f"must be {shape}", remedy)
        return table

    def _covariance(self, name: str) -> Floats:
        shape = (*self.value.shape, 2, 2)
        if getattr(self, name) is None:
            return np.zeros(shape)
        table = self._table(name, np.float64, shape, "Value first, then cost.")
        _check.finite(name, table, "Merge clusters with too few rows.")
        vv, vc, cv, cc = table[..., 0, 0], table[..., 0, 1], table[..., 1, 0], table[..., 1, 1]
        bad = (vv < 0) | (cc < 0) | (vc != cv) | (vv * cc * (1 + 1e-9) < vc**2)
        if bad.any():
            remedy = "Compute all four entries from one sample."
            raise _check.refuse_cells(name, vc, bad, "is not a covariance", remedy)
        return table

    def _allowed(self) -> NDArray[np.bool_]:
        if self.allowed is None:
            return np.ones(self.value.shape, np.bool_)
        table = self._table("allowed", np.bool_, self.value.shape, "One boolean per cell.")
        if not table.any(1).all():
            k, rule = int(np.argmin(table.any(1))), "must allow at least one treatment"
            raise _check.refuse(f"allowed[{k}]", table[k].tolist(), rule, "Allow control.")
        return table

    def parted(self, cluster: NDArray[Any], size: NDArray[Any], allowed: NDArray[Any]) -> ClusterCells:
        """Returns the cells of groups within the clusters, so that units of a cluster may get different treatments.

        All groups of a cluster share the estimation error of its means. A group of n units in a cluster of N gets the total
        covariance n N covariance + n spread; summed over the groups this is the variance if all groups get one treatment, and an
        upper bound for any other allocation.

        Args:
            cluster: The cluster of each group, (G,).
            size: Number of units of each group, (G,), > 0.
            allowed: The treatments that each group may get, (G, M).
        """
        size = np.asarray(size, np.float64)
        cluster_size = np.bincount(cluster, size, minlength=len(self.size))[cluster]
        return ClusterCells(
            size=size, value=self.value[cluster], cost=self.cost[cluster], spread=self.spread[cluster], allowed=allowed,
            covariance=self.covariance[cluster] * (cluster_size / size)[:, None, None, None], treatments=self.treatments,
        )  # fmt: skip

    @property
    def variance(self) -> Floats:
        """Covariance of total value and total cost of each cell, (K, M, 2, 2)."""
        n = self.size[:, None, None, None]
        total: Floats = n**2 * self.covariance + n * self.spread
        return total

    def draw(self, draws: int, seed: Seed = 0) -> tuple[Floats, Floats]:
        """Returns total value and total cost of each cell in `draws` normal scenarios, (S, K, M) each; cells are independent.

        Scenarios come in antithetic pairs.
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
    """The one cluster in which two treatments are given.

    Attributes:
        cluster: Its number.
        treatment: The treatment that a share of its units gets instead of the plan's.
        share: That share, in (0, 1).
    """

    cluster: int
    treatment: int
    share: float


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class ClusterPlan(Result):
    """One treatment for each cluster at one budget.

    Attributes:
        treatment: Code of the treatment, int32 (K,).
        budget: Budget of all clusters.
        value: Expected value of all units.
        spend: Expected spend.
        charged: The quantity that `risk` bounds by the budget: expected spend, quantile, or mean of the worst scenarios.
        overspends: Probability that the spend exceeds the budget, if it is normally distributed.
        bound: Upper bound on the value of any plan that obeys the same constraints.
        status: ``OPTIMAL`` if the gap is at most 1e-6 Σ over clusters of (best value - worst value), else ``WITHIN_GAP``.
        split: The cluster that gets two treatments, if there is one.
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


@checked
def plan_clusters(
    cells: ClusterCells, budgets: Sequence[float], *, risk: Risk | None = None, nested: bool = True, split: bool = False
) -> tuple[ClusterPlan, ...]:
    """Returns the best plan of the clusters at each budget, with an upper bound on the value of any other plan.

    Args:
        cells: Estimated value and cost of each cluster and treatment.
        budgets: Budgets of all clusters together; the plans come in the same order.
        risk: `Expected` (the default), `Chance` or `Tail`.
        nested: A cluster's cost per unit never falls as the budget rises: plans are computed from the smallest budget up, each
            the best that spends on no cluster less than the one before.
        split: One cluster may get two treatments so that the budget is spent exactly; only with `Expected`, where the best such
            plan is the optimum of the linear programme. These plans are nested in any case.

    Raises:
        InfeasibleBudget: Even the lowest possible charge exceeds a budget; the message says by how much.
        DataError: A budget is not a number, scenarios do not suit the cells, or `split` is combined with another risk.

    Reference:
        Chance constraint: Charnes and Cooper 1959; worst scenarios: Rockafellar and Uryasev 2000. Integer stochastic programme
        over clusters: HRC (arXiv 2506.00959); its formulation here is this library's.
    """
    risk = Expected() if risk is None else risk
    limits = _check.array("budgets", budgets, ndim=1, dtype=np.float64)
    _check.finite("budgets", limits, "Give finite numbers.")
    if split and not isinstance(risk, Expected):
        raise _check.refuse("split", split, "the variance of a split cluster is not linear", "Set risk=Expected().")
    rule = _Rule.of(cells, risk)
    plans: dict[int, ClusterPlan] = {}
    floor = np.zeros(len(cells.size))
    for b in np.argsort(limits, kind="stable"):
        totals = rule.totals._replace(allowed=cells.allowed & (cells.cost >= floor[:, None]))
        plan = _split(rule, float(limits[b])) if split else _unsplit(rule, totals, float(limits[b]))
        if nested and not split:
            floor = cells.cost[np.arange(len(floor)), plan.treatment]
        plans[int(b)] = plan
    return tuple(plans[b] for b in range(len(limits)))


class _Rule(NamedTuple):
    """The constraint of all budgets: totals of the cells, standard deviations charged, scenarios (S, K, M), worst share."""

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
        scenarios = cells.draw(risk.draws, risk.seed)[1] if risk.cost is None else risk.cost * n
        return cls(totals, 0.0, scenarios, risk.share)

    def charged(self, treatment: NDArray[np.int32]) -> float:
        """Returns the charge of a plan against the budget."""
        if self.scenarios is None:
            return cluster_programme.charged(self.totals, treatment, self.q)
        spend = np.sort(self.scenarios[:, np.arange(len(treatment)), treatment].sum(1))[::-1]
        worst = self.share * len(spend)
        part = np.clip(worst - np.arange(len(spend)), 0, 1)  # weight of the last scenario: a fraction
        return float(spend @ part / worst)


def _unsplit(rule: _Rule, totals: Totals, budget: float) -> ClusterPlan:
    """Returns the best plan with one treatment per cluster; `totals` are those of the rule with the cells now allowed."""
    if rule.scenarios is None:
        best = cluster_programme.best(totals, budget, rule.q)
        least = 0.0 if best else cluster_programme.cheapest(totals, rule.q)[1]
    else:
        best, least = _worst(rule, totals, budget)
    if best is None:
        raise InfeasibleBudget(budget, least)
    exact = best.bound - best.value <= CLOSED * totals.stake
    return _described(rule, budget, best, Status.OPTIMAL if exact else Status.WITHIN_GAP)


def _described(rule: _Rule, budget: float, plan: Bounded, status: Status) -> ClusterPlan:
    spend, variance = quantity(rule.totals.spend, plan.treatment), quantity(rule.totals.variance, plan.treatment)
    overspends = float(spend > budget) if variance <= 0 else float(ndtr((spend - budget) / np.sqrt(variance)))
    return ClusterPlan(
        treatment=frozen(plan.treatment), budget=budget, value=plan.value, spend=spend,
        charged=rule.charged(plan.treatment), overspends=overspends, bound=plan.bound, status=status,
    )  # fmt: skip


def _worst(rule: _Rule, totals: Totals, budget: float) -> tuple[Bounded | None, float]:
    """Returns the best plan whose mean spend in the worst scenarios is within a budget; if there is none, the lowest such mean.

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
        best = _in_time(cluster_programme.by_highs(totals, None, more))
        if best is None:
            break
        excess = rule.charged(best.treatment) - budget
        if excess <= 0:
            return best, 0.0
        slack += 2 * excess  # the solver's tolerance must not break the constraint
    more = More(ties.tocsc(), np.zeros(s), lower, mean)
    least = _in_time(cluster_programme.by_highs(totals._replace(value=np.zeros_like(totals.value)), None, more))
    assert least is not None
    return None, rule.charged(least.treatment)


def _in_time(plan: Bounded | None) -> Bounded | None:
    """Returns the plan, or raises an error if the solver ran out of time without one."""
    if plan is not None and not len(plan.treatment):
        raise DataError("risk: no plan was computed in time. Give fewer scenarios or clusters.", field="risk")
    return plan


def _split(rule: _Rule, budget: float) -> ClusterPlan:
    """Returns the optimum of the linear programme: hull increments, steepest first, the one that breaks the budget in part."""
    totals = rule.totals
    increments = steps(cluster_programme.menu_of(totals, totals.value, totals.spend))
    paid, gained = increments.change(totals.spend), increments.change(totals.value)
    spent = np.append(0.0, np.cumsum(paid)) + quantity(totals.spend, increments.start)
    if spent[0] > budget:
        raise InfeasibleBudget(budget, float(spent[0]))
    k = int(np.searchsorted(spent, budget, side="right")) - 1
    treatment = increments.start.copy()
    treatment[increments.unit[:k]] = increments.target[:k]
    value = quantity(totals.value, treatment)
    plan = _described(rule, budget, Bounded(treatment, value, value), Status.OPTIMAL)
    if k == len(paid) or plan.spend >= budget:
        return plan
    c, j = int(increments.unit[k]), int(increments.target[k])
    share = (budget - plan.spend) / float(paid[k])
    value += share * float(gained[k])
    uncertain = quantity(totals.variance, treatment) + totals.variance[c, j] > 0
    overspends = 0.5 if uncertain else 0.0  # the expected spend equals the budget
    return replace(
        plan, value=value, spend=budget, charged=budget, bound=value, overspends=overspends, split=Split(c, j, share)
    )
