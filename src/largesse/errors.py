"""The exceptions that largesse raises on purpose.

LargesseError
├── DataError (ValueError)           a value, a row or an array breaks a rule
│   └── SchemaError                  a column is missing, unknown or of the wrong kind
├── ConfigError (ValueError)         a configuration file breaks a rule
├── InfeasibleBudget (ValueError)    even the cheapest plan costs more than the budget
├── InfeasibleRules (ValueError)     no plan obeys all rules of a campaign at once
├── NotFittedError (ValueError)      predict before fit
├── StoreError (ValueError)          a saved model or run cannot be read or written
└── MissingDependency (ImportError)  an optional package is not installed

Every message names the field, the value got, the rule and the next step.
"""

from __future__ import annotations

from typing import Self

__all__ = [
    "ConfigError",
    "DataError",
    "InfeasibleBudget",
    "InfeasibleRules",
    "LargesseError",
    "MissingDependency",
    "NotFittedError",
    "SchemaError",
    "StoreError",
]


class LargesseError(Exception):
    """The root: catch this to catch every refusal of largesse."""


class DataError(LargesseError, ValueError):
    """A value, a row or an array breaks a rule.

    Attributes:
        field: The name of the offending argument or column, e.g. ``"cost"``.
        rest: What the message says after that name; None where it does not begin with it.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.rest: str | None = None

    @classmethod
    def at(cls, field: str, rest: str) -> Self:
        """Returns the error whose message is the name of a field and the rest of the sentence."""
        error = cls(f"{field}{rest}", field=field)
        error.rest = rest
        return error

    def about(self, name: str, note: str = "") -> Self:
        """Returns the same error under the caller's own name of the field, with a note at its end.

        >>> str(DataError.at("cost", "[3] == -1.0: must be >= 0.").about("spent"))
        'spent[3] == -1.0: must be >= 0.'
        """
        if self.rest is None:
            return type(self)(f"{self}{note}", field=name)
        return type(self).at(name, f"{self.rest}{note}")


class SchemaError(DataError):
    """A column is missing, unknown or of the wrong kind."""


class ConfigError(LargesseError, ValueError):
    """A configuration file breaks a rule."""


class InfeasibleBudget(LargesseError, ValueError):  # noqa: N818  (reads as the condition it reports)
    """Even the cheapest plan costs more than the budget.

    Attributes:
        budget: The budget asked for, in money.
        cheapest: The cost of the cheapest plan, in money.
    """

    def __init__(self, budget: float, cheapest: float) -> None:
        super().__init__(
            f"budget == {budget:g}: the cheapest plan costs {cheapest:g}, {cheapest - budget:g} more than the budget. "
            "Raise the budget, or add a cheaper treatment (a control that costs nothing) to the menu."
        )
        self.budget = budget
        self.cheapest = cheapest


class InfeasibleRules(LargesseError, ValueError):  # noqa: N818
    """No plan obeys all rules of a campaign at once.

    Attributes:
        rules: Names of the rules that conflict: already these cannot hold together.
        proven: Whether that is proven; if not, fractions of units would obey, but no plan of whole units was found.
    """

    def __init__(self, rules: tuple[str, ...], proven: bool = True) -> None:
        if not proven:
            words = "no plan of whole units was found that obeys them, though fractions of units would"
        elif len(rules) > 1:
            words = f"these {len(rules)} cannot hold together, not even for fractions of units"
        else:
            words = "it cannot hold, not even for fractions of units"
        super().__init__(f"rules: {'; '.join(rules)}: {words}. Relax one of them.")
        self.rules = rules
        self.proven = proven


class NotFittedError(LargesseError, ValueError):
    """A model was asked to predict before it was fitted."""


class StoreError(LargesseError, ValueError):
    """A saved model or run cannot be read or written."""


class MissingDependency(LargesseError, ImportError):  # noqa: N818
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, need: str) -> None:
        super().__init__(f"{need} needs the package {package!r}. Install it with: pip install 'largesse[{extra}]'")
        self.package = package
