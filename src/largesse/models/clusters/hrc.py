"""Clusters of a learned representation: one response for all units of a cluster, measured on the trial."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from largesse import _check
from largesse._random import number
from largesse.allocate.budget_frontier import frontier
from largesse.allocate.cluster_plan import ClusterCells
from largesse.evaluate.bootstrap import Grid, row_weights, values_at
from largesse.evaluate.curve import outcome_curve
from largesse.logs import Logs
from largesse.menu import BUDGET_SHARES, Menu
from largesse.models.base import Model, State
from largesse.models.clusters.cells import Means, cell_means, merged, shrunk, spreads
from largesse.models.clusters.representation import Body, network_of
from largesse.models.crossfit import Rows, of_others, out_of_fold
from largesse.models.families import BERNOULLI
from largesse.models.nets.weights import weights_of
from largesse.models.outcome import Outcome, Response
from largesse.models.selection import choose
from largesse.models.two_stage.mlp import MLP
from largesse.store import nest, unnest

if TYPE_CHECKING:
    from largesse.models.bilevel.bidfcl import BiDFCL
    from largesse.models.decision.dfcl import DFCL

__all__ = ["HRC", "answer_of"]

_CHUNK = 4096
_RIDGE = 1e-3  # entries of a representation may be copies of each other
_DRAWS = 100


@dataclass(kw_only=True, eq=False, repr=False)
class HRC(Model):
    """Clusters of units by the representation of a network; each cluster's response is estimated on the trial.

    Only the abstract of HRC is public. Representation, clusters and an integer stochastic programme are the paper's; their
    form is this library's: distances between units follow the differences in predicted net value at the prices of some
    budgets (`View`), and estimates of a cell are shrunk towards the network's prediction by empirical Bayes. `predict` gives
    the menu of the cluster responses; `cells` gives the input of `largesse.allocate.plan_clusters`.

    Args:
        base: The network whose first two layers are the representation, with at least two layers: `MLP`, `DFCL` or `BiDFCL`; all
            members, if it averages several. None: three members with layers of 64 and 32.
        sizes: Numbers of clusters to choose among, rising; a single number is used without choice.
        least: Trial rows that every cell of cluster and treatment needs; smaller clusters are merged with the nearest.
        folds: Folds of the cross-fitted choice of the number of clusters, if `fit` is given no validation rows.
        outcome: Family and cost rule; None: the base's, or inferred from the rows.
        seed: Seed of the starts of the clusters, and of the folds.

    Attributes:
        body_: The two layers.
        groups_: The clusters and their cells.

    Reference:
        HRC (abstract only); empirical Bayes: Morris 1983; a flat prior on the spread between cells: Gelman 2006.

    >>> from largesse.allocate import plan_clusters
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(1200, 2)), rng.integers(0, 2, 1200)
    >>> order = (rng.random(1200) < 0.2 + 0.4 * t * (x[:, 0] > 0)).astype(float)
    >>> model = HRC(sizes=(4,)).fit(Logs(x=x, treatment=t, value=order, cost=2.0 * t * order))
    >>> (plan,) = plan_clusters(model.cells(x), [300.0])
    >>> bool(len(plan.treatment) > model.clusters(x).max()), plan.spend <= 300.0
    (True, True)
    """

    base: MLP | DFCL | BiDFCL | None = field(default=None, kw_only=False)
    sizes: tuple[int, ...] = (32, 64, 128)
    least: int = 50
    folds: int = 2
    outcome: Outcome | None = None
    seed: int = 0

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self._check()
        fitted = self._learned(rct, obs, validation)
        k = self.sizes[0] if len(self.sizes) == 1 else self._chosen(fitted, rct, obs, validation)
        self.body_ = Body.of(fitted)
        (self.groups_,) = self._grouped(fitted, rct, (k,))

    def learn_from(self, fitted: Model, rct: Logs, *, validation: Logs | None = None) -> Self:
        """Fits clusters to the body of a network that is fitted already; returns self.

        The outcome is the network's, unless it was given: published networks treat every value as a number.

        Args:
            fitted: A fitted `MLP`, `DFCL` or `BiDFCL` with at least two layers.
            rct: Rows of the trial.
            validation: Validation rows of the trial, which choose the number of clusters. Not needed for one size.

        Raises:
            DataError: The model has no such body, is not fitted, or there are several sizes and no rows to choose on.
        """
        self._check()
        if len(self.sizes) > 1 and validation is None:
            rule = "the network is given, so rows that it was not trained on must choose among them"
            raise _check.refuse("sizes", self.sizes, rule, "Give validation rows, or one size.")
        network_of("fitted", fitted)
        fitted.readable(rct.x)
        self.outcome_ = self.outcome or fitted.outcome_
        self.treatments_, self.features_, self.body_ = rct.treatments, rct.features, Body.of(fitted)
        k = self.sizes[0] if validation is None else self._chosen(fitted, rct, None, validation)
        (self.groups_,) = self._grouped(fitted, rct, (k,))
        return self

    def _check(self) -> None:
        if self.base is not None:
            network_of("base", self.base)
        rule, remedy = "must be numbers of clusters >= 1", "Give e.g. (8, 16, 32)."
        _check.integers("sizes", self.sizes, low=1, high=100_000, rule=rule, remedy=remedy)
        _check.integers(
            "folds", [self.folds], low=2, high=1000, rule="must be >= 2", remedy="They cross-fit the choice."
        )
        _check.integers("least", [self.least], low=1, high=10**9, rule="must be >= 1", remedy="Give rows of a cell.")

    def _learned(self, rct: Logs, obs: Logs | None, validation: Logs | None = None) -> Model:
        base = MLP(members=3, hidden=(64, 32), lengths=(1,), seed=self.seed) if self.base is None else self.base
        return self.configured(base).fit(rct, obs, validation=validation)

    def _grouped(self, fitted: Model, rct: Logs, sizes: Sequence[int]) -> list[_Groups]:
        """Returns clusters of trial rows and their cells, for each number of clusters."""
        h, response = self._hidden(Body.of(fitted), rct.x), fitted.predict_response(rct.x)
        view = self._view(h, fitted.menu(response), rct.weights)
        return [_grouped(h, view, response, rct, k, self.least, self.seed) for k in sizes]

    def _view(self, h: NDArray[np.float64], menu: Menu, weights: NDArray[np.float64]) -> View:
        return View.of(h, menu, weights)

    def _hidden(self, body: Body, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return body.hidden(x, 1 if self.base is None else self.base.n_threads)

    def _chosen(self, fitted: Model, rct: Logs, obs: Logs | None, validation: Logs | None) -> int:
        """Returns the fewest clusters within one paired standard error of the best, on rows that none was trained on."""

        def responses(net: Model, train: Logs, x: NDArray[np.float32]) -> tuple[Response, ...]:
            of = self._hidden(Body.of(net), x)
            return tuple(answer_of(g, g.number(of), self.outcome_) for g in self._grouped(net, train, self.sizes))

        def without_fold(train: Rows, held_out: Rows, fold: int) -> tuple[Response, ...]:
            some = rct.take(train)
            return responses(self._learned(some, of_others(obs, rct.take(held_out))), some, rct.x[held_out])

        if validation is None:
            judge, cluster_responses = rct, out_of_fold(rct, self.folds, self.seed, without_fold)
        else:
            judge, cluster_responses = validation, responses(fitted, rct, validation.x)
        return self.sizes[_simplest(judge, [self.menu(one) for one in cluster_responses], self.sizes, self.seed)]

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        return answer_of(self.groups_, self._numbers(x), self.outcome_)

    @property
    def n_clusters(self) -> int:
        """Number of clusters K, those merged counted once."""
        return len(self.groups_.value.mean)

    def clusters(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the cluster of each row of features, (N,), numbered from 0.

        Args:
            x: Encoded features, (N, d), finite.
        """
        return self._numbers(self.readable(x))

    def _numbers(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        parts = (self._hidden(self.body_, x[i : i + _CHUNK]) for i in range(0, len(x), _CHUNK))
        return np.concatenate([self.groups_.number(h) for h in parts])

    def distances(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the squared distance of each row to the nearest centre of each cluster, (N, K).

        Args:
            x: Encoded features, (N, d), finite.
        """
        return self.groups_.distances(self._hidden(self.body_, self.readable(x)))

    def cells(self, x: NDArray[Any]) -> ClusterCells:
        """Returns the cells of the units with these features, for `largesse.allocate.plan_clusters`.

        Args:
            x: Encoded features of the units that are to be treated, (N, d).
        """
        return self.cells_of(np.bincount(self.clusters(x), minlength=self.n_clusters))

    def cells_of(self, size: NDArray[Any]) -> ClusterCells:
        """Returns the cells for given numbers of units per cluster, (K,)."""
        g, outcome = self.groups_, self.outcome_
        menu = self.menu(answer_of(g, np.arange(self.n_clusters), outcome))
        paid = g.cost.variance
        if outcome.rule is not None:
            conversion = g.value if outcome.likelihood.value_is_conversion else g.conversion
            paid = outcome.rule.variance(g.value.variance, conversion.variance)
        paid = paid * (np.square(outcome.amounts) if outcome.amounts else 1.0)
        covariance, s = np.empty_like(g.spread), g.spread
        sizes = np.sqrt(s[..., 0, 0] * s[..., 1, 1])
        together = np.divide(s[..., 0, 1], sizes, out=np.zeros_like(sizes), where=sizes > 0)
        covariance[..., 0, 0], covariance[..., 1, 1] = g.value.variance, paid
        covariance[..., 0, 1] = covariance[..., 1, 0] = np.clip(together, -1, 1) * np.sqrt(g.value.variance * paid)
        return ClusterCells(
            size=np.asarray(size, np.float64),
            value=menu.value,
            cost=menu.cost,
            covariance=covariance,
            spread=s,
            treatments=self.treatments_,
        )

    def _state(self) -> State:
        """Returns the two layers, the clusters and their cells."""
        g = self.groups_
        mine = {"centre": g.view.centre, "turn": g.view.turn, "centres": g.centres, "into": g.into, "spread": g.spread}
        for name in ("value", "conversion", "cost"):
            mine |= {f"{name}.mean": getattr(g, name).mean, f"{name}.error": getattr(g, name).variance}
        return {}, nest(body=weights_of(self.body_)) | mine

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        self.body_ = Body.restored(unnest("body", arrays))
        value, conversion, cost = (
            Means(arrays[f"{name}.mean"], arrays[f"{name}.error"]) for name in ("value", "conversion", "cost")
        )
        view = View(arrays["centre"], arrays["turn"])
        self.groups_ = _Groups(view, arrays["centres"], arrays["into"], value, conversion, cost, arrays["spread"])


class View(NamedTuple):
    """A projection in which distance approximates the difference in predicted net value.

    At a shadow price λ the net value of a treatment is value - λ cost. Entries of the representation that do not change the
    net value of one treatment against another do not count, however much they vary.

    Attributes:
        centre: Mean of the representation, (h,).
        turn: The projection, (h, d).
    """

    centre: NDArray[np.float64]
    turn: NDArray[np.float64]

    @classmethod
    def of(cls, h: NDArray[np.float64], menu: Menu, weights: NDArray[np.float64]) -> Self:
        """Returns the view that follows a menu of the same rows, by ridge regression, at the prices of some budgets.

        Args:
            h: Representation of the rows, (N, h).
            menu: The network's predictions for them.
            weights: Row weights, (N,).
        """
        share = weights / weights.sum()
        centre = share @ h
        scale = np.sqrt(share @ (h - centre) ** 2)
        scale[scale <= 1e-9] = np.inf  # constant entries are not used
        z = (h - centre) / scale
        front = frontier(menu)
        net_values = []
        for price in front.price_at(front.spend[0] + np.array(BUDGET_SHARES) * (front.spend[-1] - front.spend[0])):
            net_value = menu.value - price * menu.cost
            net_values.append(net_value - net_value.mean(1, keepdims=True))
        goal = np.column_stack(net_values).astype(np.float64)
        goal -= share @ goal
        size = np.sqrt((share @ goal**2).sum())
        slope = np.linalg.solve((z.T * share) @ z + _RIDGE * np.eye(z.shape[1]), (z.T * share) @ goal)
        return cls(centre, slope / scale[:, None] / (size if size > 0 else 1.0))

    def __call__(self, h: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns points of rows of the representation, (N, d)."""
        return (h - self.centre) @ self.turn


class _Groups(NamedTuple):
    """Clusters of a representation and their cells.

    `view` projects the representation; `centres` (K, d) are points of the projection; `into` (K,) is the cluster of each
    centre; value, conversion and cost are (k, M), `spread` is (k, M, 2, 2).
    """

    view: View
    centres: NDArray[np.float64]
    into: NDArray[np.int64]
    value: Means
    conversion: Means
    cost: Means
    spread: NDArray[np.float64]

    def number(self, h: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns the cluster of each row of the representation, (N,)."""
        return self.into[_nearest(self.view(h), self.centres)]

    def distances(self, h: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the squared distance of each row of the representation to each cluster's nearest centre, (N, k)."""
        z, c = self.view(h), self.centres
        square = (z**2).sum(1)[:, None] - 2 * z @ c.T + (c**2).sum(1)  # (N, K)
        order = np.argsort(self.into, kind="stable")
        first = np.searchsorted(self.into[order], np.arange(self.into.max() + 1))
        return np.maximum(np.minimum.reduceat(square[:, order], first, axis=1), 0.0)


def _nearest(z: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    square = (centres**2).sum(1)
    parts = [np.argmin(square - 2 * z[i : i + _CHUNK] @ centres.T, 1) for i in range(0, len(z), _CHUNK)]
    return np.concatenate(parts)


def _grouped(
    h: NDArray[np.float64], view: View, response: Response, rct: Logs, k: int, least: int, seed: int
) -> _Groups:
    """Returns at most k clusters of trial rows, by their representation, with the cells of their responses."""
    z = view(h)
    kmeans = MiniBatchKMeans(min(k, len(z)), n_init=3, batch_size=_CHUNK, random_state=number(seed, k) % 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        centres = np.asarray(kmeans.fit(z, sample_weight=rct.weights).cluster_centers_, np.float64)
    near, m = _nearest(z, centres), rct.n_treatments
    rows = np.bincount(near * m + rct.treatment, minlength=len(centres) * m).reshape(-1, m)
    into = merged(rows, centres, least)
    cluster, count = into[near], int(into.max()) + 1
    total = np.maximum(np.bincount(cluster, rct.weights, count), 1e-300)

    def cells(outcome: NDArray[np.float64], answer: NDArray[Any] | None, levels: bool) -> Means:
        means = cell_means(rct, cluster, outcome, count)
        if answer is None:  # no prediction: the same guess for all clusters
            guess = cell_means(rct, np.zeros_like(cluster), outcome, 1).mean.repeat(count, 0)
        else:
            guess = np.column_stack([np.bincount(cluster, rct.weights * a, count) / total for a in answer.T])
        return shrunk(means, guess, levels=levels)

    value = cells(rct.value, response.value, True)
    conversion = cells((rct.value > 0).astype(np.float64), response.conversion, True)
    cost = cells(rct.cost, response.cost, False)
    return _Groups(view, centres, into, value, conversion, cost, spreads(rct, cluster, count))


def answer_of(groups: _Groups, cluster: NDArray[np.int64], outcome: Outcome) -> Response:
    """Returns the response of each row's cluster, clipped to the range of the outcome."""
    value = outcome.likelihood.clip(groups.value.mean)
    cost = groups.cost.mean[cluster] if outcome.rule is None else None
    return Response(value[cluster], BERNOULLI.clip(groups.conversion.mean)[cluster], cost)


def _simplest(judge: Logs, menus: list[Menu], sizes: Sequence[int], seed: int) -> int:
    """Returns the first menu within one paired standard error of the best, on the outcome curve of some trial rows."""
    curves = [outcome_curve(judge, menu) for menu in menus]
    budgets = np.array(BUDGET_SHARES) * min(curve.reach[1] for curve in curves)
    grids = [Grid.of(curve) for curve in curves]
    value = np.array([curve.value_at(budgets) for curve in curves])
    draws = np.array([[values_at(g, budgets, w) for g in grids] for w in row_weights(judge, _DRAWS, seed)])
    names = [str(k) for k in sizes]
    return names.index(choose(names, value, draws).name)
