"""Stacking: a convex combination of models, whose independent errors cancel."""

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

_PRIOR_ROWS = 8000  # rows that the prior of equal weights is worth
_SCALE = 1e4  # factor of the log-likelihood, which differs little between weights, for the optimiser's tolerance
_SUM = 1e3  # penalty that keeps the sum of the weights at 1, in units of the largest entry


@dataclass(kw_only=True, eq=False, repr=False)
class Stack(Model):
    """A convex combination of models: the weighted mean of their responses.

    Equal weights are best for models of similar quality and bad if one is much worse; fitted weights adapt, but are noisy. The
    default shrinks fitted weights towards equal ones: the less, the more rows there are.

    Args:
        models: The models; clones are fitted.
        weights: One number >= 0 per model, of any sum; ``"even"``; or ``"fit"``: `cautious_weights` of the validation rows, or
            without these of out-of-fold predictions.
        folds: Number of folds of these predictions.
        outcome: Family and cost rule; None: inferred from the rows.
        seed: Of the folds.

    Attributes:
        models_: The fitted models.
        weights_: Their weights, sum 1.

    Raises:
        DataError: Fewer than two models, a menu that is not in currency, invalid weights, or models with different outcomes.

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
        self.models_ = tuple(self._configured(model).fit(rct, obs, validation=validation) for model in self.models)
        self._set_outcome()
        self.weights_ = self._fitted_weights(rct, obs, validation) if self.weights == "fit" else self._given_weights()

    @classmethod
    def of(cls, fitted: Sequence[Model], *, weights: Sequence[float] | Literal["even"] = "even") -> Self:
        """Returns the stack of models that are already fitted, on the same treatments and features.

        `cautious_weights` of validation rows are the weights that ``"fit"`` would give.
        """
        stack = cls(tuple(fitted), weights=weights)
        stack._check()
        first = fitted[0]
        stack.models_ = tuple(fitted)
        stack.treatments_, stack.features_ = first.treatments_, first.features_
        stack._set_outcome()
        stack.weights_ = stack._given_weights()
        return stack

    def _check(self) -> None:
        if len(self.models) < 2:
            raise _check.refuse("models", len(self.models), "a stack needs at least two", "Give two, or use the one.")
        for model in self.models:
            if not model.menu_in_currency:
                rule = "its menu counts treatments, those of other models are in currency"
                raise _check.refuse("models", type(model).__name__, rule, "Leave it out.")

    def _set_outcome(self) -> None:
        """Sets the common outcome of the models; refuses models with different outcomes."""
        self.outcome_ = self.models_[0].outcome_
        for model in self.models_[1:]:
            if model.outcome_ != self.outcome_:
                raise _check.refuse(
                    "models", type(model).__name__, f"has another outcome: {model.outcome_.describe()} "
                    f"The first: {self.outcome_.describe()}", "Stack models of one outcome.",
                )  # fmt: skip

    def _configured(self, model: Model) -> Model:
        """Returns a clone of a model, with the outcome of the stack if it has none of its own."""
        configured: Model = clone(model)
        if configured.get_params(deep=False).get("outcome", 0) is None:
            configured.set_params(outcome=self.outcome_)
        return configured

    def _given_weights(self) -> tuple[float, ...]:
        if isinstance(self.weights, str):
            _check.choice("weights", self.weights, ("even", "fit"))
            return tuple([1 / len(self.models)] * len(self.models))
        given = _check.array("weights", self.weights, ndim=1, dtype=np.float64)
        _check.finite("weights", given, "Give one number for each model.")
        _check.nonnegative("weights", given, "Weights of a convex combination are >= 0.")
        if len(given) != len(self.models) or not given.any():
            rule = f"needs a number for each of {len(self.models)} models, not all 0"
            raise _check.refuse("weights", tuple(given.tolist()), rule, "Or give 'even'.")
        return tuple((given / given.sum()).tolist())

    def _fitted_weights(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> tuple[float, ...]:
        _check.integers("folds", [self.folds], low=2, high=1000, rule="must be >= 2", remedy="Cross-fitting needs two.")
        if validation is not None:
            return cautious_weights(validation, [model.predict_response(validation.x) for model in self.models_])

        def predict(train: Rows, test: Rows, fold: int) -> tuple[Response, ...]:
            rows, log = rct.take(train), of_others(obs, rct.take(test))
            return tuple(clone(model).fit(rows, log).predict_response(rct.x[test]) for model in self.models_)

        return cautious_weights(rct, out_of_fold(rct, self.folds, self.seed, predict))

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        return self.combined([model.predict_response(x) for model in self.models_])

    def combined(self, responses: Sequence[Response]) -> Response:
        """Returns the weighted mean of the responses of the models, table by table; None where a response has none."""
        mean: Any = lambda *tables: sum(w * table for w, table in zip(self.weights_, tables, strict=True))  # noqa: E731
        return Response.combine(mean, *responses)

    def _state(self) -> State:
        """Returns the states and weights of the models."""
        settings, arrays = zip(*(model.state() for model in self.models_), strict=True)
        named = nest(**{str(k): part for k, part in enumerate(arrays)})
        return {"models": list(settings), "weights": list(self.weights_)}, named

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        pairs = enumerate(zip(self.models, settings["models"], strict=True))
        self.models_ = tuple(self.restored_part(model, saved, unnest(str(k), arrays)) for k, (model, saved) in pairs)
        self.weights_ = tuple(settings["weights"])


def stacking_weights(logs: Logs, responses: Sequence[Response]) -> tuple[float, ...]:
    """Returns the convex weights, sum 1, whose combination predicts the logged outcomes best.

    If all responses have P(value > 0), by maximum likelihood: max Σ_i s_i ln |Σ_k w_k p̂_k,i,t_i - 1[r_i = 0]|. Conversions are
    more informative than amounts, whose tails are heavy, and a likelihood suits rare events better than squared errors. Else by
    least squares: min Σ_i s_i (r_i - Σ_k w_k r̂_k,i,t_i)².

    Args:
        logs: Rows on which the models were not fitted.
        responses: One per model, for these rows.
    """
    share = logs.weights / logs.total_weight
    tables = [r.conversion for r in responses if r.conversion is not None]
    all_conversions = len(tables) == len(responses)
    if not all_conversions:
        tables = [r.value for r in responses]
    taken = np.column_stack([table[np.arange(logs.n), logs.treatment] for table in tables])  # (N, K)
    if all_conversions:
        return tuple(_likeliest(np.where(logs.value[:, None] > 0, taken, 1 - taken), share).tolist())
    root = np.sqrt(share)
    rows, goal = root[:, None] * taken, root * logs.value
    penalty = _SUM * float(np.abs(rows).max() * np.sqrt(logs.n) + 1)
    weights, _ = nnls(np.vstack([rows, np.full(len(responses), penalty)]), np.append(goal, penalty))
    return tuple((weights / weights.sum()).tolist())


def _likeliest(probability: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mixture weights (K,) of the largest likelihood, max Σ s ln(probability w), probabilities (N, K)."""
    probability, k = np.maximum(probability, 1e-12), probability.shape[1]

    def loss(weight: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.maximum(probability @ weight, 1e-12)
        return -float(share @ np.log(mixed)) * _SCALE, -_SCALE * (probability.T @ (share / mixed))

    sum_is_one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(k)}
    even = np.full(k, 1 / k)
    optimum = minimize(loss, even, jac=True, method="SLSQP", bounds=[(0, 1)] * k, constraints=sum_is_one)
    weight: NDArray[np.float64] = np.maximum(optimum.x, 0.0)
    weight /= max(weight.sum(), 1e-300)
    return weight if loss(weight)[0] <= loss(even)[0] else even  # equal weights after a failed search


def cautious_weights(logs: Logs, responses: Sequence[Response]) -> tuple[float, ...]:
    """Returns `stacking_weights` shrunk towards equal weights: by half at 8,000 rows (effective sample size), by less with more.

    Args:
        logs: Rows on which the models were not fitted.
        responses: One per model, for these rows.
    """
    even, rows = 1 / len(responses), logs.total_weight**2 / float((logs.weights**2).sum())
    fitted_share = rows / (rows + _PRIOR_ROWS)
    return tuple(even + fitted_share * (weight - even) for weight in stacking_weights(logs, responses))
