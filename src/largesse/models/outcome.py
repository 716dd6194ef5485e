"""The outcome of a model: the family of the value with its likelihood, and the rule of the cost.

The right likelihood and a known cost rule gain more than any decision loss, so both are declared or inferred, and reported.
The families are in `largesse.models.families`, the rules in `largesse.models.cost_rules`; a cost without a rule is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse.errors import DataError
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models.cost_rules import COST_RULES, CostRule
from largesse.models.families import AMOUNT, BERNOULLI, FAMILIES, Family

__all__ = ["FamilyName", "Outcome", "Response", "RuleName"]

FamilyName = Literal["bernoulli", "poisson", "zero_inflated_lognormal", "gaussian"]
RuleName = Literal["learned", "per_contact", "per_redemption", "share_of_value"]
_LEARNED = "learned"  # the cost is predicted by a model, not given by a rule
_Z = 4.0  # standard errors by which a declared rule may miss the mean cost of an arm


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Predictions of a model for N units and M treatments.

    Attributes:
        value: E value, (N, M).
        conversion: P(value > 0), (N, M), or None if the model does not predict it.
        cost: E cost, (N, M), or None where a cost rule gives it.
    """

    value: NDArray[Any]
    conversion: NDArray[Any] | None = None
    cost: NDArray[Any] | None = None

    @classmethod
    def combine(cls, function: Callable[..., NDArray[Any]], *responses: Response) -> Response:
        """Returns the response of function(tables of the responses), table by table; None where a response has none."""
        combined: dict[str, Any] = {}
        for name in ("value", "conversion", "cost"):
            tables = [getattr(response, name) for response in responses]
            combined[name] = None if any(table is None for table in tables) else function(*tables)
        return cls(**combined)


@checked
@dataclass(frozen=True, slots=True)
class Outcome:
    """The family of the value, the rule of the cost, and whether the treatments are ordered levels.

    Attributes:
        family: Name of the likelihood of the value.
        cost_rule: Name of the rule that gives the cost; ``"learned"``: a model predicts it.
        amounts: Amount of each treatment for the rule, (M,); () for a learned cost.
        ordered: Whether the treatments are rising levels of one incentive, so that the cost rises with the level.
        cost_binary: Whether a learned cost is 0 or 1 (a visit).
        control_cost: Whether control may have a cost above 0.
        monotone: Whether it is declared that the value never falls with the level.
    """

    family: FamilyName
    cost_rule: RuleName = "learned"
    amounts: tuple[float, ...] = ()
    ordered: bool = False
    cost_binary: bool = False
    control_cost: bool = False
    monotone: bool = False

    @classmethod
    def infer(
        cls, logs: Logs, *, value: str = "auto", cost: str = "auto", amounts: Mapping[str, float] | None = None,
        ordered: bool | str = "auto",
    ) -> Outcome:  # fmt: skip
        """Returns the outcome of a log: a declared part is checked against the rows, ``"auto"`` is inferred from them.

        Args:
            logs: The rows.
            value: A family, or ``"auto"``.
            cost: A cost rule, or ``"auto"``: the first rule that gives every logged cost to the cent, else learned.
            amounts: Amount of each treatment by name; control may be left out (0). None: estimated from the rows.
            ordered: Whether levels are ordered; ``"auto"``: whether the amounts of the rule rise with the code.

        Raises:
            DataError: The rows contradict a declared part.
        """
        family = _family(logs.value) if value == "auto" else _check.choice("value", value, tuple(FAMILIES))
        _check_family(family, logs.value)
        rule, given = _cost_rule(logs, cost, amounts)
        increasing = bool(given) and all(b > a for a, b in pairwise(given))
        return cls(
            family=family, cost_rule=rule, amounts=given,  # type: ignore[arg-type]
            ordered=increasing if ordered == "auto" else bool(ordered),
            cost_binary=bool(np.isin(logs.cost, (0.0, 1.0)).all()), control_cost=logs.control_cost, monotone=ordered is True,
        )  # fmt: skip

    @property
    def likelihood(self) -> Family:
        """The family of the value."""
        return FAMILIES[self.family]

    @property
    def rule(self) -> CostRule | None:
        """The rule of the cost; None for a learned cost."""
        return COST_RULES.get(self.cost_rule)

    @property
    def cost_likelihood(self) -> Family:
        """The family of a learned cost."""
        return BERNOULLI if self.cost_binary else AMOUNT

    @property
    def needs_conversion(self) -> bool:
        """Whether the cost needs P(value > 0) beside the mean of the value."""
        return self.rule is not None and self.rule.needs_conversion and not self.likelihood.value_is_conversion

    def menu(self, response: Response, treatments: tuple[str, ...]) -> Menu:
        """Returns the menu of a response, with the cost of the rule or the predicted cost."""
        value, conversion = np.asarray(response.value), response.conversion
        if self.monotone:
            value, conversion = rising(value), None if conversion is None else rising(conversion)
        if self.rule is None:
            if response.cost is None:
                raise DataError("cost: learned, but the model predicts none.", field="cost")
            cost = np.maximum(np.asarray(response.cost), 0)
            cost = rising(cost) if self.ordered else cost
            return Menu(value=value, cost=cost, treatments=treatments)
        conversion = self.likelihood.clip(value) if self.likelihood.value_is_conversion else conversion
        if self.rule.needs_conversion and conversion is None:
            raise DataError("conversion: the cost rule 'per_redemption' needs P(value > 0).", field="conversion")
        cost = np.broadcast_to(np.asarray(self.amounts, value.dtype) * self.rule.base(value, conversion), value.shape)
        return Menu(value=value, cost=cost, treatments=treatments)

    def with_cost(self, logs: Logs) -> Logs:
        """Returns the logs with the cost of the rule in every row: for logs without recorded costs."""
        assert self.rule is not None, "a learned cost has no rule"
        return logs.with_cost(np.asarray(self.amounts)[logs.treatment] * self.rule.logged(logs.value))

    def describe(self) -> str:
        """Returns a sentence for the report."""
        value = self.family.replace("_", " ")
        if self.rule is None:
            return f"Value is {value}; cost is learned from the log."
        amounts = ", ".join(f"{a:g}" for a in self.amounts)
        return f"Value is {value}; cost follows the rule {self.cost_rule.replace('_', ' ')} (amounts {amounts})."


def rising(table: NDArray[Any]) -> NDArray[Any]:
    """Returns rows that do not fall with the level: the mean of the running maximum and the reversed running minimum."""
    above = np.maximum.accumulate(table, axis=1)
    below = np.minimum.accumulate(table[:, ::-1], axis=1)[:, ::-1]
    return (above + below) / 2


def _family(value: NDArray[np.float64]) -> str:
    """Returns the first family in `FAMILIES` whose `looks_like` accepts the values."""
    return next(family.name for family in FAMILIES.values() if family.looks_like(value))


def _check_family(family: str, value: NDArray[np.float64]) -> None:
    bad = FAMILIES[family].misfits(value)
    if bad.any():
        raise _check.refuse_cells(
            "value", value, bad, f"does not fit the family {family!r}", "Declare another family, or 'auto'."
        )


def _cost_rule(logs: Logs, cost: str, amounts: Mapping[str, float] | None) -> tuple[str, tuple[float, ...]]:
    """Returns the name and amounts of a declared or inferred cost rule."""
    if cost == "auto" and amounts is not None:
        raise _check.refuse("cost", cost, "amounts need a rule", f"Set it to one of {tuple(COST_RULES)}.")
    rule = cost if cost == "auto" else _check.choice("cost", cost, (_LEARNED, *COST_RULES))
    if rule == _LEARNED:
        return rule, ()
    inferred, given = (
        (_infer_rule(logs) or (_LEARNED, ())) if amounts is None else (rule, declared_amounts(logs.treatments, amounts))
    )
    if rule == "auto":
        return inferred, given
    if inferred != rule:
        given = tuple(float(a) for a in _fit_amounts(logs, COST_RULES[rule]))
    _check_rule(logs, rule, given)
    return rule, given


def _fit_amounts(logs: Logs, rule: CostRule) -> NDArray[np.float64]:
    """Returns logged cost over the rule's base, per treatment (M,)."""
    base = rule.logged(logs.value)
    paid = np.bincount(logs.treatment, logs.cost, logs.n_treatments)
    return paid / np.maximum(np.bincount(logs.treatment, base, logs.n_treatments), 1e-300)


def _infer_rule(logs: Logs) -> tuple[str, tuple[float, ...]] | None:
    """Returns the first rule that gives every logged cost, with its amounts."""
    if logs.control_cost or not logs.cost.any():
        return None
    for rule in COST_RULES.values():
        amounts, base = _fit_amounts(logs, rule), rule.logged(logs.value)
        positive = np.bincount(logs.treatment, base > 0, logs.n_treatments) > 0
        if positive[1:].all() and np.allclose(
            logs.cost, amounts[logs.treatment] * base, rtol=1e-5, atol=1e-6 * logs.cost.max()
        ):
            return rule.name, tuple(float(f"{a:.7g}") for a in amounts)
    return None


def declared_amounts(treatments: tuple[str, ...], amounts: Mapping[str, float]) -> tuple[float, ...]:
    """Returns the amounts in the order of the treatments, 0 for control if left out; refuses unknown and missing names."""
    unknown = [name for name in amounts if name not in treatments]
    missing = [name for name in treatments[1:] if name not in amounts]
    if unknown or missing:
        raise _check.refuse(
            "amounts", dict(amounts), f"needs one number for each of {treatments[1:]}",
            f"Unknown: {unknown}; missing: {missing}.",
        )  # fmt: skip
    remedy = "Give an amount of money, or a share."
    return tuple(
        _check.number(f"amounts[{name!r}]", amounts.get(name, 0.0), low=0, high=_check.LARGEST, remedy=remedy)
        for name in treatments
    )


def _check_rule(logs: Logs, rule: str, amounts: tuple[float, ...]) -> None:
    """Refuses a rule whose mean cost differs from the logged one in an arm, among buyers or non-buyers, beyond noise."""
    residual = logs.cost - np.asarray(amounts)[logs.treatment] * COST_RULES[rule].logged(logs.value)
    for j, bought in product(range(logs.n_treatments), (True, False)):
        name = logs.treatments[j]
        rows = residual[(logs.treatment == j) & ((logs.value > 0) == bought)]
        if len(rows) == 0:
            continue
        standard_error = rows.std() / np.sqrt(len(rows)) + 1e-6 * max(1.0, float(logs.cost.max()))
        if abs(rows.mean()) > _Z * standard_error:
            raise DataError(
                f"cost == {rule!r}: for treatment {name!r} the rule misses the logged cost by {rows.mean():+.4g} "
                f"per row on average ({len(rows)} rows with{'' if bought else 'out'} a value, "
                f"{abs(rows.mean()) / standard_error:.0f} standard errors). "
                f"Check the amount {amounts[j]:g}, or set `cost='learned'`.",
                field="cost",
            )
