"""The sections of a configuration: type, bounds, default and meaning of every field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from largesse._check import LARGEST
from largesse.config.kinds import Label, Name, Names, Part, Place, Rule, Setting, Share, Weight, rising, shares_of_all
from largesse.config.refusal import refusal
from largesse.config.renamed import renamed
from largesse.errors import ConfigError, SchemaError
from largesse.menu import BUDGET_SHARES
from largesse.roles import Roles, nearest

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

__all__ = ["Budget", "Columns", "Config", "Data", "Design", "Learn", "Outcome", "Report", "Rules", "Run", "sections"]

SHOWN: dict[str, Any] = {"shown": True}  # marks an optional field that the template shows uncommented


class _Refusing(ModelMetaclass):
    def __call__(self, *args: Any, **fields: Any) -> Any:
        """Builds a section, or all of them; a field that violates a rule raises ConfigError, as in a file."""
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            models = sections()
            within = next((name for name, model in models.items() if model is self), "")
            raw = {within: fields} if within else fields
            raise ConfigError(refusal(error, raw, self.__name__, models, within)) from None


class _Section(BaseModel, metaclass=_Refusing):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class Data(_Section):
    """The files of rows. Relative paths start at the folder of this file."""

    rct: Place = Field(description="rows of a randomised trial", examples=["trial.parquet"])
    obs: Place | None = Field(None, description="past campaign data (OBS log), optional", examples=["past.parquet"])
    test: Place | None = Field(
        None,
        description="held-out randomised rows for the proof; without them it is cross-fitted on rct",
        examples=["test.parquet"],
    )
    test_share: Part = Field(0.3, description="share of rct held out for the proof with folds = 1 (fit --fast)")
    folds: int = Field(
        0,
        ge=0,
        description="folds of rct for a cross-fitted proof; 0: 5, as many as run.minutes allows; 1: test_share instead",
    )
    refit: bool = Field(
        False, description="with folds = 1: whether the policy is learned again from all rows of rct after the proof"
    )
    validation_share: Part = Field(
        0.2, description="share of the remaining rct rows used as validation rows, to choose the model"
    )


class Columns(_Section):
    """The role of each column."""

    treatment: Name = Field(description="the treatment taken", examples=["treatment"])
    value: Name = Field(description="outcome of the unit: orders, revenue", examples=["value"])
    cost: Name | None = Field(
        None, description="spend on the unit; leave it out if [outcome] declares a rule",
        examples=["cost"], json_schema_extra=SHOWN,
    )  # fmt: skip
    propensity: Name | None = Field(
        None, description="in rct and test: the probability of the treatment taken", examples=["propensity"]
    )
    unit: Name | None = Field(
        None, description="ids of the units; a split keeps all rows of a unit on one side", examples=["unit"]
    )
    cluster: Name | None = Field(
        None, description="what was randomised, or is alike, where it holds several units: household, shop, city and week",
        examples=["household"],
    )  # fmt: skip
    weight: Name | None = Field(
        None, description="row weights: weight 2 equals the row given twice", examples=["weight"]
    )
    timestamp: Name | None = Field(None, description="times of the rows", examples=["day"])
    features: Names | None = Field(
        None, description="feature columns; without the list, every column without a role", examples=[["age", "city"]]
    )
    ignore: Names = Field((), description="columns never used as features")
    treatments: Annotated[tuple[Label, ...], Field(strict=False)] | None = Field(
        None,
        description="labels of the treatments, control first; without the list, those in rct",
        examples=[["0", "5"]],
    )
    control: Label | None = Field(None, description="label of the control, if treatments is not given", examples=["0"])

    @model_validator(mode="after")
    def _parts(self) -> Columns:
        self.roles()
        return self

    def roles(self) -> Roles:
        """Returns the columns as `Roles`."""
        return Roles(**{name: getattr(self, name) for name in type(self).model_fields})


class Design(_Section):
    """How the treatments were assigned."""

    rct_propensity: Literal["observed", "uniform"] | Annotated[dict[Label, Weight], AfterValidator(shares_of_all)] = (
        Field(
            "observed",
            description="'observed' shares of the arms, 'uniform', or a table { label = share, ... }; weights (5, 1, 1) too",
        )
    )
    obs_propensity_column: Name | None = Field(
        None, description="in obs: column of the logged probability of the treatment taken", examples=["p"]
    )
    stratified: bool = Field(
        False,
        description="whether the trial's assignment probabilities differ between units, as given in columns.propensity",
    )
    control_cost: bool = Field(False, description="whether control rows may have costs")


class Outcome(_Section):
    """Declared distribution of the value and rule of the cost."""

    value: Literal["auto", "bernoulli", "poisson", "zero_inflated_lognormal", "gaussian"] = Field(
        "auto", description="distribution of the value: auto, bernoulli, poisson, zero_inflated_lognormal, gaussian"
    )
    cost: Literal["auto", "learned"] | Rule = Field(
        "auto", description="auto, learned, or a rule: per_contact, per_redemption (amount x value), share_of_value"
    )
    amounts: dict[Label, Annotated[float, Field(ge=0, le=LARGEST)]] = Field(
        {}, description="amount of each treatment for the rule; control may be left out", examples=[{"5": 5.0}]
    )
    value_per_unit: Annotated[float, Field(gt=0, le=LARGEST)] | None = Field(
        None,
        description="money that one unit of value brings: 10 for orders that earn 10 each, 1 for revenue in the unit of the cost",
        examples=[10.0],
    )  # fmt: skip
    margin: Share = Field(1.0, description="share of that money that is left after variable costs")
    ordered: Literal["auto"] | bool = Field(
        "auto", description="whether a more expensive treatment never has a smaller value: auto, true, false"
    )

    @property
    def unit_value(self) -> float | None:
        """Money that one unit of value leaves after variable costs; None if it is not declared."""
        return None if self.value_per_unit is None else self.value_per_unit * self.margin

    @property
    def price(self) -> float | None:
        """Shadow price λ at which everybody gets what pays: 1 / `unit_value`; None if that is not declared."""
        return None if self.unit_value is None else 1 / self.unit_value

    @model_validator(mode="after")
    def _amounts_for_a_rule(self) -> Outcome:
        if self.cost in get_args(Rule) and not self.amounts:
            raise ValueError(f"amounts is missing: the rule {self.cost!r} needs the amount of each treatment")
        if self.cost == "learned" and self.amounts:
            raise ValueError("amounts has no use with cost == 'learned': remove it, or name the rule")
        if self.margin != 1.0 and self.value_per_unit is None:
            raise ValueError("value_per_unit is missing: margin is a share of it")
        return self


class Learn(_Section):
    """The models to fit."""

    candidates: Literal["auto"] | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = Field(
        "auto", description="'auto', or a list of candidate models"
    )
    epochs: int | None = Field(
        None, ge=1, description="passes over the training rows; without it the default of each model", examples=[20]
    )
    members: int = Field(3, ge=1, description="number of networks averaged in one model")
    settings: dict[Name, dict[Name, Setting]] = Field(
        {},
        description="hyper-parameters of single models, { model = { name = value, ... } }; `largesse tune` searches them",
        examples=[{"lightgbm-rct": {"rate": 0.05, "leaves": 15}}],
    )


class Budget(_Section):
    """The budgets to plan for."""

    shares: Annotated[tuple[Share, ...], Field(strict=False), AfterValidator(rising)] = Field(
        BUDGET_SHARES, description="budgets, as shares of the cost of giving every unit the most expensive treatment"
    )
    per_unit: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False), AfterValidator(rising)
    ] = Field((), description="budgets per unit; if given, shares is ignored")  # fmt: skip
    safety: Part = Field(0.95, description="probability that the spend stays within the budget")

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, given: Any) -> Any:
        return renamed(given, "per_head", "per_unit")

    @model_validator(mode="after")
    def _some(self) -> Budget:
        if not self.shares and not self.per_unit:
            raise ValueError("shares and per_unit are both empty: name at least one budget")
        return self


class Rules(_Section):
    """Rules that every allocation must obey: caps, budgets of groups, who may get what. The proof obeys them too."""

    file: Place | None = Field(
        None, description="a TOML file of rules, as for `largesse plan`", examples=["rules.toml"]
    )
    units: int | None = Field(
        None,
        ge=1,
        description="number of units that limits in totals are for; they count in proportion in the proof",
        examples=[250000],
    )

    @model_validator(mode="after")
    def _file_for_units(self) -> Rules:
        if self.units is not None and self.file is None:
            raise ValueError("file is missing: units is the number of units that its limits are for")
        return self


class Report(_Section):
    """Names and units in the report."""

    title: Name = Field("Campaign", description="name of the campaign")
    value_unit: Name = Field("units of value", description="unit of the value, e.g. 'orders' or 'EUR of revenue'")
    money_unit: Name | None = Field(
        None, description="unit of the cost; without it, amounts are written without a unit", examples=["EUR"]
    )
    head: Name = Field("unit", description="what one unit is, e.g. 'user' or 'shop'")
    segments: Names = Field(
        (), description="feature columns by which the report shows who gets what and what that brings, beside those along which "
        "decisions differ most", examples=[["city", "age"]],
    )  # fmt: skip

    @property
    def money(self) -> str:
        """Unit of the cost; empty if it is not declared."""
        return self.money_unit or ""

    @property
    def units(self) -> dict[str, str]:
        """Units of value and of money."""
        return {"value": self.value_unit, "money": self.money}

    @property
    def spend_unit(self) -> str:
        """What stands after an amount per unit: 'EUR per user', or 'per user' where the unit of money is not declared."""
        return f"{self.money} per {self.head}".strip()


class Run(_Section):
    """Seed, resources and folders of the run."""

    seed: int = Field(0, ge=0, description="seed of all random numbers")
    threads: int | None = Field(
        None,
        ge=1,
        description="processor cores to use; all that the process may use, at most 8, if left out",
        examples=[2],
    )
    minutes: float = Field(
        60, gt=0, description="minutes for all trainings; folds of the proof beyond them are left out"
    )
    draws: int = Field(
        400, ge=20, description="bootstrap draws for the choice among candidates and for the spend curve"
    )
    folder: Place = Field(Path("runs"), description="folder of the run folders")
    checkpoints: Place | None = Field(
        None,
        description="folder for checkpoints of this campaign only; an interrupted run resumes from it; emptied at the end",
        examples=["runs/unfinished"],
    )


class Config(_Section):
    """One campaign: data, columns, design, outcome, models, budgets, rules, run.

    >>> config = Config.model_validate(
    ...     {"data": {"rct": "trial.csv"}, "columns": {"treatment": "arm", "value": "orders", "cost": "spent"}}
    ... )
    >>> config.roles().cost, config.budget.safety
    ('spent', 0.95)
    """

    data: Data
    columns: Columns
    design: Design = Field(default_factory=Design)
    outcome: Outcome = Field(default_factory=Outcome)
    model: Learn = Field(default_factory=Learn)
    budget: Budget = Field(default_factory=Budget)
    rules: Rules = Field(default_factory=Rules)
    report: Report = Field(default_factory=Report)
    run: Run = Field(default_factory=Run)

    @model_validator(mode="before")
    @classmethod
    def _all_sections(cls, raw: Any) -> Any:
        # A section left out counts as empty: its defaults apply, and its required fields are reported as missing.
        return {name: {} for name in cls.model_fields} | raw if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.columns.cost is None and self.outcome.cost not in get_args(Rule):
            raise ValueError(
                f"columns.cost is missing: outcome.cost == {self.outcome.cost!r} needs the logged costs. "
                "Name the column, or declare a rule in outcome.cost."
            )
        self._known_labels("outcome.amounts", self.outcome.amounts, control=False)
        if isinstance(self.design.rct_propensity, dict):
            self._known_labels("design.rct_propensity", self.design.rct_propensity, control=True)
        if self.design.stratified and self.columns.propensity is None:
            raise ValueError("columns.propensity is missing: design.stratified needs the probability of each row.")
        self.roles("rct")
        try:
            self.roles("obs")
        except SchemaError as error:  # only the propensity differs from the roles in the trial, which are valid
            raise ValueError(f"design.obs_propensity_column: {error}") from error
        return self

    def _known_labels(self, field: str, table: Mapping[str, float], *, control: bool) -> None:
        known = self.columns.treatments
        if known is None or not table:
            return
        for name in table:
            if name not in known:
                raise ValueError(f"{field}: {name!r} is not among columns.treatments, {known}. {nearest(name, known)}")
        missing = [name for name in known[not control :] if name not in table]
        if missing:
            raise ValueError(f"{field}: has no number for {missing[0]!r} ({len(missing)} such treatments). Add it.")

    def roles(self, design: Literal["rct", "obs"] = "rct") -> Roles:
        """Returns the roles of the columns in the rows of the trial or of the OBS log."""
        parts = {name: getattr(self.columns, name) for name in Columns.model_fields}
        logged = {"rct": self.columns.propensity, "obs": self.design.obs_propensity_column}
        known = {name for name in logged.values() if name is not None}
        parts["propensity"] = logged[design]
        # The propensity column of the other table is not a feature if this table has it too.
        parts["ignore"] = (*parts["ignore"], *sorted(known - {logged[design], *parts["ignore"]}))
        return Roles(**parts)


def sections() -> dict[str, type[BaseModel]]:
    """Returns the sections by name, in the order of the file."""
    return {name: cast("type[BaseModel]", field.annotation) for name, field in Config.model_fields.items()}
