"""The role of each column of a table (`Roles`), and the label of a treatment as text (`label`)."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from largesse import _check
from largesse._arguments import checked
from largesse.errors import SchemaError

__all__ = ["Roles", "label", "nearest"]

_PARTS = ("treatment", "value", "cost", "propensity", "unit", "cluster", "weight", "timestamp")
# Columns that must not be features: they would leak the outcome or the assignment.
_LEAKS = ("treatment", "value", "cost", "propensity", "unit", "cluster")


def label(name: Any) -> str:
    """Returns the label of a treatment as text: integers without a decimal point, booleans in lower case.

    Blanks around a label do not count.

    >>> [label(name) for name in (1, 1.0, 0.5, True, " 5 off")]
    ['1', '1', '0.5', 'true', '5 off']
    """
    if getattr(name, "ndim", 0):
        raise _check.refuse("label", name, "must be one label", "Give the labels one by one.", SchemaError)
    if hasattr(name, "item") and not isinstance(name, str):
        name = name.item()
    if isinstance(name, bool):
        return "true" if name else "false"
    if isinstance(name, str | type) or not hasattr(name, "__float__"):
        return str(name).strip()
    if isinstance(name, numbers.Integral):
        return str(int(name))
    number = float(name)
    return str(int(number)) if number.is_integer() else str(number)


@checked
def nearest(name: str, known: Sequence[str]) -> str:
    """Returns ``"Did you mean 'x'? "`` for the known name closest to a misspelt one, or ``""``."""
    folded = {other.casefold(): other for other in known}
    close = get_close_matches(name.casefold(), list(folded), n=1)
    return f"Did you mean {folded[close[0]]!r}? " if close else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The names of the columns by role, and the labels of the treatments.

    Attributes:
        treatment: Column of the treatment taken.
        value: Column of the outcome (orders, revenue).
        cost: Column of the spend; None if the cost is computed later from a declared rule.
        propensity: Column of the probability of the treatment taken.
        unit: Column of the unit ids.
        weight: Column of the row weights.
        timestamp: Column of the times.
        features: Feature columns; None for every column without another role.
        ignore: Columns never used as features.
        treatments: Labels of the treatments, control first; None for the labels in the table, sorted, control first.
        control: Label of the control; may be omitted if `treatments` starts with it or exactly one label reads like a control.

    Raises:
        SchemaError: A column has two roles, a feature would leak the outcome, or the labels contradict each other.

    >>> Roles(treatment="coupon", value="orders", treatments=(0, 5.0, "10")).treatments
    ('0', '5', '10')
    """

    treatment: str
    value: str
    cost: str | None = None
    propensity: str | None = None
    unit: str | None = None
    cluster: str | None = None
    weight: str | None = None
    timestamp: str | None = None
    features: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    treatments: tuple[str, ...] | None = None
    control: str | None = None

    if TYPE_CHECKING:  # what the constructor accepts; the fields above are what it stores

        def __init__(
            self, *, treatment: str, value: str, cost: str | None = None, propensity: str | None = None,
            unit: str | None = None, cluster: str | None = None, weight: str | None = None, timestamp: str | None = None,
            features: Sequence[str] | None = None, ignore: Sequence[str] = (),
            treatments: Sequence[str | float] | None = None, control: str | float | None = None,
        ) -> None: ...  # fmt: skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", _names("ignore", self.ignore))
        if self.features is not None:
            object.__setattr__(self, "features", _names("features", self.features))
            self._check_features(self.features)
        if self.control is not None:
            object.__setattr__(self, "control", label(self.control))
        if self.treatments is not None:
            labels = tuple(label(name) for name in _sequence("treatments", self.treatments))
            object.__setattr__(self, "treatments", labels)
            self._check_treatments(labels)
        roles: dict[str, str] = {}
        for part, column in {"treatment": self.treatment, "value": self.value, **self.parts}.items():
            if not isinstance(column, str) or not column:
                raise _schema(part, column, "must be the name of a column", "Give its name as text.")
            if column in roles:
                rule = f"the column is already the {roles[column]}"
                raise _schema(part, column, rule, "Give each role its own column.")
            roles[column] = part

    def _check_features(self, features: tuple[str, ...]) -> None:
        if not features:
            remedy = "Leave it out to use every other column."
            raise _schema("features", features, "must name at least one column", remedy)
        for part in _LEAKS:
            column = getattr(self, part)
            if column in features:
                rule = f"is the {part} column, which must not be a feature"
                raise _schema("features", column, rule, "Remove it from the list.")
        both = sorted(set(features) & set(self.ignore))
        if both:
            raise _schema("features", both[0], "the column is also in `ignore`", "Keep it in one of the two.")

    def _check_treatments(self, treatments: tuple[str, ...]) -> None:
        if len(treatments) < 2:
            raise _schema("treatments", treatments, "at least two are needed, control first", "Name every arm.")
        if len(set(treatments)) < len(treatments):
            raise _schema("treatments", treatments, "labels must differ", "Name every arm once.")
        if self.control is not None and treatments[0] != self.control:
            rule = f"must be the first of treatments, which is {treatments[0]!r}"
            raise _schema("control", self.control, rule, "Put the control first, or leave `control` out.")

    @property
    def parts(self) -> Mapping[str, str]:
        """The names of the declared columns by role, without the features."""
        return {part: getattr(self, part) for part in _PARTS if getattr(self, part) is not None}

    @property
    def text(self) -> tuple[str, ...]:
        """Names of the columns of ids and labels: cells of a CSV file stay in them as they are."""
        return tuple(name for name in (self.treatment, self.unit, self.cluster) if name is not None)

    def choose_features(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Returns the feature columns of a table: the declared ones, or else every column without a role, sorted by name."""
        if self.features is not None:
            return self.features
        return tuple(sorted({*columns} - {*self.parts.values(), *self.ignore}))


def _sequence(field: str, names: Any) -> tuple[Any, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise _schema(field, names, "must be a list of names", f"Write {field}=({names!r},).")
    return tuple(names)


def _names(field: str, names: Any) -> tuple[str, ...]:
    out = _sequence(field, names)
    for name in out:
        if not isinstance(name, str):
            raise _schema(field, name, "must be the name of a column", "Give its name as text.")
        if out.count(name) > 1:
            raise _schema(field, name, "the column appears twice", "Name each column once.")
    return out


def _schema(field: str, got: object, rule: str, remedy: str) -> SchemaError:
    return _check.refuse(field, got, rule, remedy, SchemaError)
