"""The contract of every model: keyword-only parameters, `fit(rct, obs)`, `predict(x) -> Menu`."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from largesse import _check
from largesse._arguments import checked, verify
from largesse._random import whole
from largesse.errors import DataError, NotFittedError, SchemaError
from largesse.frames import Encoder, Roles, ids, read
from largesse.frames.tables import Source, is_table
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.outcome import Outcome, Response
from largesse.store import unnest

if TYPE_CHECKING:

    class BaseEstimator:
        """The typed part of scikit-learn's class of this name that models use."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def __repr__(self, N_CHAR_MAX: int = 700) -> str: ...

else:
    from sklearn.base import BaseEstimator

__all__ = ["Data", "Model", "State", "Units"]

Data = Literal["both", "rct", "obs"]
Units: TypeAlias = ArrayLike | Logs | Source
"""Units to predict for: encoded features (N, d), rows, or a table."""
State = tuple[dict[str, Any], dict[str, NDArray[Any]]]
M = TypeVar("M", bound="Model")


class Model(ABC, BaseEstimator):
    """A model of the menu: predicted value and cost of every treatment for every unit.

    Subclasses are dataclasses whose fields are their parameters, ``@dataclass(kw_only=True, eq=False, repr=False)``, so that
    scikit-learn's `clone`, `get_params` and `repr` work. They implement `_learn` and `_predict_response`; fitted
    attributes end in ``_``.

    Attributes:
        outcome_: Outcome family and cost rule of the fit.
        treatments_: Names of the M treatments, control first.
        features_: Names of the d features.
        encoder_: Encoder of the training rows, for tables; None if these were arrays.
        roles_: Roles of the columns of the training table.
    """

    menu_in_currency: ClassVar[bool] = True  # False: costs of the menu count treatments
    outcome: Outcome | None
    outcome_: Outcome
    treatments_: tuple[str, ...]
    features_: tuple[str, ...]
    encoder_: Encoder | None = None
    roles_: Roles | None = None

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Returns scikit-learn's text of an estimator, wrapped at 80 characters; the middle of a long text is left out."""
        text = " ".join(super().__repr__(N_CHAR_MAX).split())
        return textwrap.fill(text, 80, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)

    @checked
    def fit(self, rct: Logs, obs: Logs | None = None, *, validation: Logs | None = None) -> Self:
        """Fits the model on the rows of a trial and, if given, on past campaign data (an OBS log); returns self.

        Args:
            rct: Rows of a randomised trial.
            obs: Rows of a past policy, with the same features and treatments.
            validation: Trial rows for early stopping and model choice; never for the final proof.

        Raises:
            SchemaError: The logs differ in their features or treatments.
            DataError: The trial has no propensities, the rows contradict the outcome, or a parameter is out of its range.
        """
        parameters = self.get_params(deep=False)  # a model refuses its base itself, and says what to use instead
        verify(type(self), {name: given for name, given in parameters.items() if name != "base"})
        whole(getattr(self, "seed", 0), 2**32)
        for name, other in (("obs", obs), ("validation", validation)):
            if other is not None and (other.features, other.treatments) != (rct.features, rct.treatments):
                raise SchemaError(
                    f"{name}: its {len(other.features)} features and treatments {other.treatments} differ from the trial's "
                    f"{len(rct.features)} and {rct.treatments}. Encode both with one encoder.",
                    field=name,
                )
        if rct.propensity is None:
            raise DataError(
                "rct.propensity: unknown, so these rows are no trial. Give the rows of a trial as rct, and these rows as obs.",
                field="propensity",
            )
        self.outcome_ = self._outcome_for(rct, obs)
        self.treatments_, self.features_ = rct.treatments, rct.features
        self.encoder_, self.roles_ = rct.encoder, rct.roles
        self._learn(rct, obs, validation)
        return self

    def predict(self, x: Units) -> Menu:
        """Returns the menu, predicted value and cost (N, M), of units.

        Args:
            x: Encoded features (N, d), finite; or, for a model fitted on rows of `largesse.read`, a dataframe or a path with
                the feature columns of these rows, or rows read with ``like=``. Other columns of a table are ignored, and
                its unit column, where it has one, names the units of the menu.

        Raises:
            NotFittedError: The model is not fitted.
            SchemaError: x has another number of features than the training rows, or a table lacks a column or has one of
                another kind; unseen categories are encoded as `Encoder` says.
        """
        rows, unit = self._encoded(x)
        menu = self.menu(self.predict_response(rows))
        return menu if unit is None else replace(menu, unit=unit)

    @checked
    def menu(self, response: Response) -> Menu:
        """Returns the menu of a response: its values, and its predicted costs or those of the cost rule.

        Raises:
            NotFittedError: The model is not fitted.
        """
        self._fitted()
        return self.outcome_.menu(response, self.treatments_)

    def predict_response(self, x: Units) -> Response:
        """Returns the predictions behind the menu: E value, P(value > 0) and E cost, each (N, M); raises as `predict` does."""
        return self._predict_response(self.readable(x))

    def readable(self, x: Units) -> NDArray[np.float32]:
        """Returns the features as float32, (N, d); raises as `predict` does."""
        self._fitted()
        rows = _check.array("x", self._encoded(x)[0], ndim=2, dtype=np.float32)
        if rows.shape[1] != len(self.features_):
            raise SchemaError(
                f"x.shape == {rows.shape}: the model was fitted on {len(self.features_)} features "
                f"({', '.join(self.features_[:3])}, ...). Use the encoder of the fit.",
                field="x",
            )
        _check.finite("x", rows, "Encode with the encoder of the fit, which fills missing values.")
        return rows

    def _encoded(self, x: Units) -> tuple[ArrayLike, NDArray[Any] | None]:
        """Returns the features of units as numbers, and the ids of the units, or None."""
        self._fitted()
        if isinstance(x, Logs):
            return x.x, x.unit
        if self.encoder_ is None and isinstance(x, str | PathLike | dict):
            raise SchemaError(
                f"x: {type(self).__name__} was fitted on arrays, so it cannot encode a table. Fit it on rows of largesse.read, "
                "or give encoded features.", field="x",
            )  # fmt: skip
        if self.encoder_ is None or not is_table(x):
            return cast(ArrayLike, x), None
        unit = None if self.roles_ is None else self.roles_.unit
        table = read(x, text=() if unit is None else (unit,))
        named = unit is not None and unit in table.column_names
        return self.encoder_.transform(table), ids(table, cast(str, unit)) if named else None

    def _fitted(self) -> None:
        if not hasattr(self, "treatments_"):
            raise NotFittedError(f"{type(self).__name__}: not fitted. Call fit(rct, obs) first.")

    def _outcome_for(self, rct: Logs, obs: Logs | None) -> Outcome:
        """Returns the outcome declared for the model or for its base, else the outcome inferred from the rows."""
        declared = self.get_params(deep=False).get("outcome") or getattr(getattr(self, "base", None), "outcome", None)
        return declared or Outcome.infer(rct if obs is None else rct | obs)

    @property
    def network(self) -> Model | None:
        """The two-stage network that the model is or wraps, fitted if the model is; None without a network."""
        return None

    @abstractmethod
    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None: ...

    @abstractmethod
    def _predict_response(self, x: NDArray[np.float32]) -> Response: ...

    def state(self) -> State:
        """Returns the fitted state as settings for JSON and named arrays, for `largesse.store`.

        Raises:
            NotFittedError: The model is not fitted.
            DataError: Models of this kind cannot be saved.
        """
        self._fitted()
        return self._state()

    def _state(self) -> State:
        raise DataError(
            f"{type(self).__name__}: cannot be saved without pickle. Use Boosting or MLP, or keep the training script.",
            field="model",
        )

    @checked
    def configured(self, base: M) -> M:
        """Returns a clone of a wrapper's base, with the wrapper's outcome.

        Raises:
            DataError: The base predicts decision factors, not values and costs.
        """
        if "outcome" not in base.get_params(deep=False):
            raise _check.refuse(
                "base", type(base).__name__, f"{type(self).__name__} works on values and costs, this model predicts neither",
                "Use MLP or Boosting.",
            )  # fmt: skip
        configured: M = clone(base).set_params(outcome=self.outcome_)
        return configured

    @checked
    def restored_base(self, base: M, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> M:
        """Returns the fitted base of a wrapper from the wrapper's saved state."""
        return self.restored_part(base, settings["settings"], unnest("base", arrays))

    @checked
    def restored_part(self, model: M, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> M:
        """Returns a fitted clone of a wrapped model from its own saved state."""
        part: M = clone(model)
        part.outcome_, part.treatments_, part.features_ = self.outcome_, self.treatments_, self.features_
        part.restore(settings, arrays)
        return part

    @checked
    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets the fitted state that `state` returned."""
        self._restore(settings, arrays)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        raise DataError(f"{type(self).__name__}: has no saved form.", field="model")


def training_rows(data: Data, rct: Logs, obs: Logs | None) -> Logs:
    """Returns the training rows: of the trial, of the log, or of both; refuses treatments without a row."""
    _check.choice("data", data, ("both", "rct", "obs"))
    if data == "obs" and obs is None:
        raise _check.refuse("data", data, "no observational log was given", "Pass obs, or set data='rct'.")
    rows = rct if data == "rct" or obs is None else obs if data == "obs" else rct | obs
    for j, count in enumerate(rows.arm_rows):
        if count == 0:
            raise _check.refuse(
                f"rows of treatment {rows.treatments[j]!r}", 0, f"no training rows with data={data!r}",
                "Set data='both', or drop the treatment.",
            )  # fmt: skip
    return rows
