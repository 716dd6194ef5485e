"""The file of rules of `largesse plan` and `largesse allocate --rules`: what it may say."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from largesse.errors import ConfigError

__all__ = ["Bounds", "CountRule", "ReturnRule", "RulesFile", "UseRule"]

Limit = float | dict[str, float]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=2)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bounds(_Section):
    """Limits of a sum over units, of all of them or group by group.

    Attributes:
        at_most: Upper limit, or one for each group by its name; None: none.
        at_least: Lower limit, likewise.
        by: The column of the groups; None: all units together.
    """

    at_most: Limit | None = None
    at_least: Limit | None = None
    by: str | None = None


class CountRule(Bounds):
    """Limits of the number of units that get a treatment.

    Attributes:
        treatment: Its name, or several whose units are counted together.
    """

    treatment: str | tuple[str, ...]


class UseRule(Bounds):
    """Limits of another resource than money.

    Attributes:
        amount: What a unit with a treatment takes of it, by the treatment's name; 0 where left out.
        name: Its name in results.
    """

    amount: dict[str, float]
    name: str = "use"


class ReturnRule(_Section):
    """Value that must come back for each unit of money spent.

    Attributes:
        at_least: Value per unit of money.
    """

    at_least: float


class RulesFile(_Section):
    """A file of rules.

    Attributes:
        treatments: Their names, control first; a policy's are known.
        value: Name of the columns of values; ``{}`` stands for the treatment.
        cost: Name of the columns of costs.
        unit: The column of the unit ids, optional.
        eligible: Name of the columns that say whether a unit may get a treatment, optional.
        keep: The column of the treatment that a unit must get, empty where it is open; optional.
        spend: Limits of money.
        count: Limits of units by treatment.
        use: Limits of other resources.
        return_: Value that must come back.
    """

    treatments: Names = ()
    value: str = "value_{}"
    cost: str = "cost_{}"
    unit: str | None = None
    eligible: str | None = None
    keep: str | None = None
    spend: tuple[Bounds, ...] = ()
    count: tuple[CountRule, ...] = ()
    use: tuple[UseRule, ...] = ()
    return_: tuple[ReturnRule, ...] = Field((), alias="return")

    @classmethod
    def load(cls, path: Path) -> RulesFile:
        """Returns the rules in a TOML file.

        Raises:
            ConfigError: It is missing or no TOML, or fields break a rule: all of them are named.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as TOML ({error}). Check the name and the text.") from error
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            told = [
                f"{'.'.join(map(str, one['loc']))} == {one['input']!r}: {one['msg']}"
                for one in error.errors(include_url=False)
            ]
            raise ConfigError(f"{path}: " + "; ".join(told) + ". The fields are in docs/allocation.md.") from None
