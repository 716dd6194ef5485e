"""A mean of models: what different learners get wrong in different places cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from sklearn.base import clone

from largesse import _check
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.crossfit import Rows, of_others, out_of_fold
from largesse.models.outcome import Outcome, Response
from largesse.store import nest, unnest

__all__ = ["Stack", "cautious_weights", "stacking_weights"]

_PRIOR_ROWS = 8000  # held-out rows that even weights count like
_SHARP = 1e4  # likelihoods of models differ little: the search for weights sees them enlarged
_SUM = 1e3  # how hard the weights are held to the sum 1, in sizes of the rows


@dataclass(kw_only=True, eq=False, repr=False)
class Stack(Model):
    """A convex combination of models: their responses are averaged, then priced as one menu.

    An even mean does best where the models are about as good as each other, and badly where one is much weaker; fitted
    weights tell, but noisily. The default is between the two, by how many rows tell.

    Args:
        models: The models; clones are fitted.
        weights: One number >= 0 per model, which need not sum to 1; ``"even"``; or ``"fit"``: between even and
            those that foresee best what rows that no model has learned from brought, see `cautious_weights`.
        folds: Parts of the trial that take turns to be such rows, if `fit` is given no validation rows.
        outcome: Family and cost rule; None: inferred from the rows.
        seed: Draws the parts.

    Attributes:
        models_: The fitted models.
        weights_: Their weights, sum 1.

    Raises:
        DataError: Fewer than two models, menus that are not in money, weights that do not suit, or models that take the
            outcome differently.

    Reference:
        Breiman 1996, Stacked regressions.

    >>> from largesse.models import MLP, Boosting
    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(600, 2)), rng.integers(0, 2, 600)
    >>> order = (rng.random(600) < 0.3 + 0.3 * t * (x[:, 0] > 0)).astype(float)
    >>> trial = Logs(x=x, treatment=t, value=order, cost=2.0 * t * order)
    >>> Stack((Boosting(rounds=5), MLP(members=1)), weights=(1, 3)).fit(trial).weights_
    (0.25, 0.75)
    """

    models: tuple[Model, ...] = field(kw_only=False)
    weights: Sequence[float] | Literal["even", "fit"] = "fit"
    folds: int = 2
    outcome: Outcome | None = None
    seed: int = 0

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        self._check()
        self.models_ = tuple(self._told_clone(model).fit(rct, obs, validation=validation) for model in self.models)
        self._agree()
        self.weights_ = self._fitted(rct, obs, validation) if self.weights == "fit" else self._given()

    @classmethod
    def of(cls, fitted: Sequence[Model], *, weights: Sequence[float] | Literal["even"] = "even") -> Self:
        """Returns the stack of models that are fitted already, on the same treatments and features.

        `cautious_weights` of rows that none of them has learned from are the weights that ``"fit"`` would give.
        """
        stack = cls(tuple(fitted), weights=weights)
        stack._check()
        first = fitted[0]
        stack.models_ = tuple(fitted)
        stack.treatments_, stack.features_ = first.treatments_, first.features_
        stack._agree()
        stack.weights_ = stack._given()
        return stack

    def _check(self) -> None:
        if len(self.models) < 2:
            raise _check.refuse(
                "models", len(self.models), "a mean needs at least two", "Give two, or use the one itself."
            )
        for model in self.models:
            if not model.menu_in_currency:
                name = type(model).__name__
                raise _check.refuse("models", name, "its menu counts treatments, others count money", "Leave it out.")

    def _agree(self) -> None:
        self.outcome_ = self.models_[0].outcome_
        for model in self.models_[1:]:
            if model.outcome_ != self.outcome_:
                raise _check.refuse(
                    "models", type(model).__name__, f"takes the outcome otherwise: {model.outcome_.describe()} "
                    f"The first: {self.outcome_.describe()}", "Stack models of one outcome.",
                )  # fmt: skip

    def _told_clone(self, model: Model) -> Model:
        told: Model = clone(model)
        if told.get_params(deep=False).get("outcome", 0) is None:
            told.set_params(outcome=self.outcome_)
        return told

    def _given(self) -> tuple[float, ...]:
        if isinstance(self.weights, str):
            _check.choice("weights", self.weights, ("even", "fit"))
            return tuple([1 / len(self.models)] * len(self.models))
        given = _check.array("weights", self.weights, ndim=1, dtype=np.float64)
        _check.finite("weights", given, "Give one number for each model.")
        _check.nonnegative("weights", given, "A convex stack has no negative weights.")
        if len(given) != len(self.models) or not given.any():
            rule = f"needs a number for each of {len(self.models)} models, not all 0"
            raise _check.refuse("weights", tuple(given.tolist()), rule, "Or give 'even'.")
        return tuple((given / given.sum()).tolist())

    def _fitted(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> tuple[float, ...]:
        _check.integers("folds", [self.folds], low=2, high=1000, rule="must be >= 2", remedy="Rows take turns.")
        if validation is not None:
            return cautious_weights(validation, [model.predict_response(validation.x) for model in self.models_])

        def answer(seen: Rows, held: Rows, fold: int) -> tuple[Response, ...]:
            rows, log = rct.take(seen), of_others(obs, rct.take(held))
            return tuple(clone(model).fit(rows, log).predict_response(rct.x[held]) for model in self.models_)

        return cautious_weights(rct, out_of_fold(rct, self.folds, self.seed, answer))

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        return self.combined([model.predict_response(x) for model in self.models_])

    def combined(self, responses: Sequence[Response]) -> Response:
        """Returns the weighted mean of the models' responses, table by table; None where one of them has none."""
        tables: list[NDArray[Any] | None] = []
        for name in ("value", "conversion", "cost"):
            parts = [getattr(response, name) for response in responses]
            known = all(part is not None for part in parts)
            tables.append(sum(w * part for w, part in zip(self.weights_, parts, strict=True)) if known else None)
        assert tables[0] is not None
        return Response(tables[0], tables[1], tables[2])

    def state(self) -> State:
        """Returns the states of the models, and their weights."""
        settings, arrays = zip(*(model.state() for model in self.models_), strict=True)
        named = nest(**{str(k): part for k, part in enumerate(arrays)})
        return {"models": list(settings), "weights": list(self.weights_)}, named

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        pairs = enumerate(zip(self.models, settings["models"], strict=True))
        self.models_ = tuple(self.restored_part(model, saved, unnest(str(k), arrays)) for k, (model, saved) in pairs)
        self.weights_ = tuple(settings["weights"])


def stacking_weights(logs: Logs, responses: Sequence[Response]) -> tuple[float, ...]:
    """Returns the convex weights whose mean foresees the logged outcomes best.

    Where all responses tell P(value > 0), they are the most likely ones: max Σ_i s_i ln |Σ_k w_k p̂_k,i,t_i - 1[r_i = 0]|. Whether
    something was bought tells more than how much, whose tails are heavy, and rare events more than their squared errors. Else
    they are those of least squares, min Σ_i s_i (r_i - Σ_k w_k r̂_k,i,t_i)².

    Args:
        logs: Rows that the responses' models have not seen.
        responses: One per model, of these rows.
    """
    share = logs.weights / logs.total_weight
    tables = [r.conversion for r in responses if r.conversion is not None]
    told = len(tables) == len(responses)
    taken = np.column_stack(
        [a[np.arange(logs.n), logs.treatment] for a in (tables if told else [r.value for r in responses])]
    )  # (N, K)
    if told:
        return tuple(_mixed(np.where(logs.value[:, None] > 0, taken, 1 - taken), share).tolist())
    root = np.sqrt(share)
    rows, goal = root[:, None] * taken, root * logs.value
    hold = _SUM * float(np.abs(rows).max() * np.sqrt(logs.n) + 1)
    found, _ = nnls(np.vstack([rows, np.full(len(responses), hold)]), np.append(goal, hold))
    return tuple((found / found.sum()).tolist())


def _mixed(chance: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the weights of a mixture that is most likely, from each part's chance of every row (N, K): max Σ s ln(chance w)."""
    chance, k = np.maximum(chance, 1e-12), chance.shape[1]

    def loss(weight: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.maximum(chance @ weight, 1e-12)
        return -float(share @ np.log(mixed)) * _SHARP, -_SHARP * (chance.T @ (share / mixed))

    one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(k)}
    even = np.full(k, 1 / k)
    found = minimize(loss, even, jac=True, method="SLSQP", bounds=[(0, 1)] * k, constraints=one)
    weight = np.maximum(found.x, 0.0)
    weight /= max(weight.sum(), 1e-300)
    return np.asarray(
        weight if loss(weight)[0] <= loss(even)[0] else even, np.float64
    )  # a failed search changes nothing


def cautious_weights(logs: Logs, responses: Sequence[Response]) -> tuple[float, ...]:
    """Returns weights between even ones and `stacking_weights`: half-way at 8,000 rows, nearer to the latter with more."""
    even, rows = 1 / len(responses), logs.total_weight**2 / float((logs.weights**2).sum())
    taken = rows / (rows + _PRIOR_ROWS)
    return tuple(even + taken * (weight - even) for weight in stacking_weights(logs, responses))
