"""The schema of the rules file of `largesse plan` and `largesse allocate --rules`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from largesse.config.refusal import rule, short
from largesse.config.text import fields, read, toml_of
from largesse.errors import ConfigError

__all__ = ["Bounds", "CountRule", "NotForRule", "ReturnRule", "RulesFile", "UseRule"]

Number = Annotated[float, Field(strict=True)]  # true is not a number
Limit = Number | dict[str, Number]
Name = Annotated[str, Field(min_length=1, pattern=r"\S")]
Names = Annotated[tuple[Name, ...], Field(strict=False, min_length=2)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(_Section):
    """Limits of a sum over all units, or over the units of each group.

    Attributes:
        at_most: Upper limit, or one per group by name; None if there is none.
        at_least: Lower limit, or one per group by name; None if there is none.
        by: Column of the groups; None for all units together.
    """

    at_most: Limit | None = None
    at_least: Limit | None = None
    by: str | None = None


class CountRule(Bounds):
    """Limits of the number of units with a treatment.

    Attributes:
        treatment: Name of the treatment, or several names whose units are counted together.
    """

    treatment: str | tuple[str, ...]


class UseRule(Bounds):
    """Limits of a resource other than the budget.

    Attributes:
        amount: Use of the resource per unit, by the name of the treatment; 0 if left out.
        name: Name of the resource in results.
    """

    amount: dict[str, Number]
    name: str = "use"


class ReturnRule(_Section):
    """Lower limit of the value per unit of spend.

    Attributes:
        at_least: Value per unit of spend.
    """

    at_least: Number


class NotForRule(_Section):
    """Units that may not get a treatment: those with some labels in a column; units with an empty cell may.

    Attributes:
        treatment: Name of the treatment, or several names.
        column: The column.
        values: The labels.
    """

    treatment: Name | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    column: Name
    values: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]

    @property
    def treatments(self) -> tuple[str, ...]:
        """Names of the treatments."""
        return (self.treatment,) if isinstance(self.treatment, str) else self.treatment


class RulesFile(_Section):
    """A file of rules.

    Attributes:
        treatments: Names of the treatments, control first; not needed with a policy.
        value: Name of the columns of values; ``{}`` stands for the treatment.
        cost: Name of the columns of costs.
        unit: Column of the unit ids, optional.
        eligible: Name of the boolean columns that mark which treatments a unit may get, optional.
        not_for: Treatments that the units of some groups may not get.
        keep: Column of the treatment that a unit must get, with an empty cell if it is free; optional.
        spend: Limits of the spend.
        count: Limits of the number of units by treatment.
        use: Limits of other resources.
        return_: Limits of the value per unit of spend.
    """

    treatments: Names = ()
    value: str = "value_{}"
    cost: str = "cost_{}"
    unit: str | None = None
    eligible: str | None = None
    not_for: tuple[NotForRule, ...] = ()
    keep: str | None = None
    spend: tuple[Bounds, ...] = ()
    count: tuple[CountRule, ...] = ()
    use: tuple[UseRule, ...] = ()
    return_: tuple[ReturnRule, ...] = Field((), alias="return")

    @property
    def text(self) -> tuple[str, ...]:
        """Names of the columns of ids and labels: cells of a CSV file stay in them as they are."""
        groups = (*(one.by for one in (*self.spend, *self.count, *self.use)), *(one.column for one in self.not_for))
        return tuple(name for name in (self.unit, self.keep, *groups) if name is not None)

    @property
    def masks(self) -> bool:
        """Whether some units may not get some treatments."""
        return bool(self.eligible is not None or self.keep is not None or self.not_for)

    @property
    def empty(self) -> bool:
        """Whether there is no rule."""
        return not (self.masks or self.spend or self.count or self.use or self.return_)

    @classmethod
    def load(cls, path: Path) -> RulesFile:
        """Returns the rules in a TOML file.

        Raises:
            ConfigError: The file is missing or not TOML, or fields violate a rule; the message names all of them.
        """
        return cls.parse(read(path), str(path))

    @classmethod
    def parse(cls, text: str, name: str = "rules") -> RulesFile:
        """Returns the rules in a TOML text.

        Args:
            text: The TOML.
            name: Name of the text in error messages.

        Raises:
            ConfigError: As for `load`.

        >>> RulesFile.parse('count = [{treatment = "10", at_most = 5000}]').count[0].at_most
        5000.0
        """
        raw = fields(text, name)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, detail['loc']))} == {short(detail['input'])}: {rule(detail)}"
                for detail in error.errors(include_url=False)
            ]
            raise ConfigError(f"{name}: {'; '.join(wrong)}. The fields are in docs/allocation.md.") from None

    def dump(self) -> str:
        """Returns the TOML text of the rules, which `parse` turns into equal ones. What is as if left out is left out.

        >>> print(RulesFile.parse('spend = [{at_most = 10}]').dump())
        [[spend]]
        at_most = 10.0
        """
        lines, rest = [], self.model_dump(exclude_defaults=True, by_alias=True)
        lines += [f"{name} = {toml_of(value)}" for name, value in rest.items() if name not in _LISTS]
        for name in _LISTS:
            for one in rest.get(name, ()):
                own = {key: value for key, value in one.items() if value is not None}
                lines += ["", f"[[{name}]]", *(f"{key} = {toml_of(value)}" for key, value in own.items())]
        return "\n".join(lines).lstrip("\n")


_LISTS = ("spend", "count", "use", "return", "not_for")
