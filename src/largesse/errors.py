"""The exceptions of largesse.

LargesseError
├── DataError (ValueError)           a value, a row or an array violates a rule
│   ├── SchemaError                  a column is missing, unknown or of the wrong kind
│   ├── Conflict                     the same key was given with something else, or a decision contradicts the ask
│   ├── UndefinedMetric              a metric of an experiment does not vary, or is a ratio to 0
│   └── UsedInTraining               rows that would prove a policy were used to train it
├── ConfigError (ValueError)         a configuration file violates a rule
├── InfeasibleBudget (ValueError)    even the cheapest plan costs more than the budget
├── InfeasibleRules (ValueError)     no plan satisfies all rules of a campaign
├── NotFittedError (ValueError)      predict was called before fit
├── StoreError (ValueError)          a saved model or run cannot be read or written
├── RefusedByService                 the decision service refuses a request of the client
├── ServiceUnavailable               the decision service gave the client no answer in time
└── MissingDependency (ImportError)  an optional package is not installed

Every message names the field, the value, the rule and the next step.
"""

from __future__ import annotations

from typing import Any, Self

__all__ = [
    "ConfigError", "Conflict", "DataError", "InfeasibleBudget", "InfeasibleRules", "LargesseError", "MissingDependency",
    "NotFittedError", "RefusedByService", "SchemaError", "ServiceUnavailable", "StoreError", "UndefinedMetric",
    "UsedInTraining", "why_damaged",
]  # fmt: skip


class LargesseError(Exception):
    """Base class of all errors that largesse raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns how to make it again in another process: with its message and attributes, not by its own `__init__`."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[LargesseError], args: tuple[Any, ...], attributes: dict[str, Any]) -> LargesseError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class DataError(LargesseError, ValueError):
    """A value, a row or an array violates a rule.

    Attributes:
        field: The name of the offending argument or column, e.g. ``"cost"``.
        rest: The message after that name; None if the message does not begin with the name.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.rest: str | None = None

    @classmethod
    def at(cls, field: str, rest: str) -> Self:
        """Returns the error whose message is the name of a field followed by `rest`."""
        error = cls(f"{field}{rest}", field=field)
        error.rest = rest
        return error

    def about(self, name: str, note: str = "") -> Self:
        """Returns the same error with the caller's own name of the field, and a note appended.

        >>> str(DataError.at("cost", "[3] == -1.0: must be >= 0.").about("spent"))
        'spent[3] == -1.0: must be >= 0.'
        """
        if self.rest is None:
            return type(self)(f"{self}{note}", field=name)
        return type(self).at(name, f"{self.rest}{note}")


class UndefinedMetric(DataError):  # noqa: N818  (the name is the condition)
    """A metric of an experiment does not vary, or is a ratio to 0, so there is nothing to compare."""


class UsedInTraining(DataError):  # noqa: N818
    """Rows that would prove a policy were used to train it.

    Attributes:
        used: Number of such rows.
        rows: Number of all rows given.
    """

    def __init__(self, message: str, *, field: str = "test", used: int = 0, rows: int = 0) -> None:
        super().__init__(message, field=field)
        self.used = used
        self.rows = rows


class SchemaError(DataError):
    """A column is missing, unknown or of the wrong kind."""


class Conflict(DataError):  # noqa: N818
    """What is stored contradicts what is given: the same key came with something else before."""


class ConfigError(LargesseError, ValueError):
    """A configuration file violates a rule."""


class InfeasibleBudget(LargesseError, ValueError):  # noqa: N818  (the name is the condition)
    """Even the cheapest plan costs more than the budget.

    Attributes:
        budget: The requested budget, in units of cost.
        cheapest: The cost of the cheapest plan, in units of cost.
    """

    def __init__(self, budget: float, cheapest: float) -> None:
        super().__init__(
            f"budget == {budget:g}: the cheapest plan costs {cheapest:g}, {cheapest - budget:g} more than the budget. "
            "Raise the budget, or add a cheaper treatment (a control that costs nothing) to the menu."
        )
        self.budget = budget
        self.cheapest = cheapest


class InfeasibleRules(LargesseError, ValueError):  # noqa: N818
    """No plan satisfies all rules of a campaign.

    Attributes:
        rules: Names of conflicting rules: no plan satisfies even these alone.
        proven: True if the linear relaxation is infeasible; False if it is feasible but no integer plan was found.
    """

    def __init__(self, rules: tuple[str, ...], proven: bool = True) -> None:
        if not proven:
            words = "no plan of whole units was found that satisfies them, although fractional plans exist"
        elif len(rules) > 1:
            words = f"these {len(rules)} cannot hold together, even with fractional units"
        else:
            words = "it cannot hold, even with fractional units"
        super().__init__(f"rules: {'; '.join(rules)}: {words}. Relax one of them.")
        self.rules = rules
        self.proven = proven


class NotFittedError(LargesseError, ValueError):
    """`predict` was called before `fit`."""


class StoreError(LargesseError, ValueError):
    """A saved model or run cannot be read or written."""


class RefusedByService(LargesseError):  # noqa: N818
    """The decision service refuses a request of the client; the same request would be refused again.

    Attributes:
        status: HTTP status, e.g. 409 for a conflict.
        title: The kind of the problem in words.
        detail: Field, value, rule and next step.
        field: Name of the field; "": none.
        value: Its value, shortened; "": not known.
        request: Id of the request in the log of the server; "": not known.
    """

    def __init__(
        self, detail: str, *, status: int, title: str, field: str = "", value: str = "", request: str = ""
    ) -> None:
        super().__init__(detail)
        self.detail, self.status, self.title = detail, status, title
        self.field, self.value, self.request = field, value, request


class ServiceUnavailable(LargesseError):  # noqa: N818
    """The decision service gave the client no answer in time; the same request may succeed later.

    Attributes:
        attempts: How often it was sent.
        key: Key of the ask or outcome; "": none, or several.
        maybe_stored: True if a request may have reached the service, which may have stored its result.
    """

    def __init__(self, message: str, *, attempts: int = 1, key: str = "", maybe_stored: bool = False) -> None:
        super().__init__(message)
        self.attempts, self.key, self.maybe_stored = attempts, key, maybe_stored


class MissingDependency(LargesseError, ImportError):  # noqa: N818
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, need: str) -> None:
        super().__init__(f"{need} needs the package {package!r}. Install it with: pip install 'largesse[{extra}]'")
        self.package = package


def why_damaged(error: BaseException) -> str:
    """Returns what is wrong with a state that could not be restored, without the names of exceptions.

    >>> why_damaged(KeyError("model")), why_damaged(TypeError("'int' object is not iterable"))
    ("'model' is missing", 'a part is of another kind than was saved')
    """
    if isinstance(error, KeyError):
        return f"{str(error)[:200]} is missing"
    if isinstance(error, LargesseError | ValueError):
        return (str(error).splitlines() or ["a value is wrong"])[0][:200]
    return "a part is of another kind than was saved"
