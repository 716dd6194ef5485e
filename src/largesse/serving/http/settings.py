"""The configuration of a server: a TOML file with [server] and [campaigns.NAME], and variables LARGESSE_SERVER_*."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from largesse.config.kinds import Place
from largesse.config.refusal import refusal
from largesse.config.text import fields, read
from largesse.errors import ConfigError
from largesse.roles import nearest

__all__ = [
    "PREFIX",
    "BudgetSettings",
    "CampaignSettings",
    "ServerSettings",
    "Settings",
    "end_of",
    "load_settings",
    "moment",
]

PREFIX = "LARGESSE_SERVER_"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_BODY = 1 << 30


def end_of(given: Any) -> Any:
    """Returns an end in seconds since 1970 (UTC); a date means the end of that day, a time without a zone is UTC.

    >>> end_of("2026-12-31") - end_of("2026-12-31T12:00:00Z")
    43200.0
    """
    got = given
    if isinstance(got, str):
        try:
            got = datetime.fromisoformat(got) if len(got) > len("2026-12-31") else date.fromisoformat(got)
        except ValueError:
            raise ValueError("must be a date or a time, e.g. 2026-12-31 or 2026-12-31T18:00:00Z") from None
    if isinstance(got, date) and not isinstance(got, datetime):
        got = datetime.combine(got, time(), UTC) + timedelta(days=1)
    if isinstance(got, datetime):
        return (got if got.tzinfo else got.replace(tzinfo=UTC)).timestamp()
    return got


def moment(seconds: float) -> str:
    """Returns a time in seconds since 1970 as ISO 8601 has it.

    >>> moment(0.0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


End = Annotated[float, BeforeValidator(end_of), Field(ge=0, le=1e12)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Amounts = dict[str, Annotated[float, Field(ge=0)]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ServerSettings(_Section):
    """The section [server]."""

    store: Annotated[str, Field(min_length=1, description="Store of the ledger: sqlite:///FILE or postgresql://...")]
    host: Annotated[str, Field(min_length=1, description="Address to listen at")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port to listen at; 0: a free one")] = 8000
    workers: Annotated[int, Field(ge=1, le=256, description="Worker processes")] = 1
    keys: Annotated[bool, Field(description="Whether callers need a key; false on a loopback address only")] = True
    deadline: Annotated[Seconds, Field(description="Seconds that the model has before decisions are control")] = 0.5
    queue: Annotated[int, Field(ge=1, le=1_000_000, description="Decisions that may wait in one worker")] = 10_000
    body: Annotated[int, Field(ge=1_000, le=_MAX_BODY, description="Largest body of a request, in bytes")] = 1 << 20
    batch_body: Annotated[int, Field(ge=1_000, le=_MAX_BODY, description="Largest body of a batch, in bytes")] = 1 << 26
    read_timeout: Annotated[Seconds, Field(description="Seconds in which headers, then a body, must arrive")] = 10.0
    grace: Annotated[Seconds, Field(description="Seconds that requests in progress have at a stop")] = 30.0
    reprice: Annotated[Seconds, Field(description="Seconds between two prices")] = 10.0
    log: Annotated[Literal["debug", "info", "warning", "error"], Field(description="Level of the log")] = "info"


class CampaignSettings(_Section):
    """A section [campaigns.NAME]: the run that decides, and the terms of the campaign (see `largesse.serving.Campaign`)."""

    run: Annotated[Place, Field(description="Run folder with its ONNX form")]
    budget: Annotated[float | None, Field(ge=0, description="Money that may be spent")] = None
    budget_of: Annotated[str, Field(description="Budget that it shares with others, of a section [budgets.NAME]")] = ""
    until: Annotated[End, Field(description="End: a date (its end, UTC) or a time")]
    price: Annotated[float | None, Field(ge=0, description="First shadow price, as `largesse allocate` prints it")] = (
        None
    )
    units: Annotated[float | None, Field(gt=0, description="Expected number of decisions")] = None
    holdout: Annotated[float, Field(ge=0, lt=1, description="Share of units that get control")] = 0.02
    explore: Annotated[float, Field(ge=0, le=1, description="Share of the other units whose treatment is drawn")] = 0.05
    mix: Annotated[Amounts | None, Field(description="Weight of each treatment in exploration")] = None
    exploration: Annotated[Literal["mix", "cost-neutral", "thompson"], Field(description="How units explore")] = "mix"
    mix_share: Annotated[float, Field(gt=0, le=1, description="Part of exploration that is the mix in any case")] = 0.2
    guarantee: Annotated[Literal["expected", "hard"], Field(description="What a decision reserves")] = "expected"
    worst: Annotated[Amounts | None, Field(description="The most that each treatment can cost")] = None
    period: Annotated[float | None, Field(gt=0, description="Seconds after which a unit may be decided anew")] = None
    matures: Annotated[float, Field(gt=0, description="Seconds until a reservation without an outcome expires")] = (
        7 * 86_400.0
    )
    scale: Annotated[int, Field(ge=1, description="Smallest units of money in one")] = 100
    salt: Annotated[str, Field(description="Name of the experiment for the holdout")] = ""
    features: Annotated[bool, Field(description="Whether features are stored with decisions")] = True
    challenger: Annotated[Place | None, Field(description="Run folder of a run that is tried beside")] = None
    share: Annotated[float, Field(ge=0, le=1, description="Share of the units that the challenger decides")] = 0.0
    shadow: Annotated[bool, Field(description="Whether its answer to the other units is stored, not given")] = False


class BudgetSettings(_Section):
    """A section [budgets.NAME]: money that several campaigns share."""

    budget: Annotated[float, Field(ge=0, description="Money that all may spend together")]


class Settings(BaseModel):
    """A whole configuration.

    Attributes:
        server: The section [server].
        campaigns: The campaigns by name.
        budgets: The budgets that campaigns share, by name.
        source: The file it came from; None: the command line.
    """

    model_config = ConfigDict(frozen=True)
    server: ServerSettings
    campaigns: dict[str, CampaignSettings]
    budgets: dict[str, BudgetSettings] = {}
    source: Path | None = None


def load_settings(
    path: Path | None,
    *,
    server: Mapping[str, Any] | None = None,
    campaigns: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Returns the configuration of a file, with variables of the environment and options on top.

    Args:
        path: The TOML file; None: options alone.
        server: Options of [server], which override file and environment.
        campaigns: Further campaigns.
        environment: Variables; LARGESSE_SERVER_PORT overrides server.port.

    Raises:
        ConfigError: A field is unknown or violates a rule, or there is no campaign.
    """
    name = "server" if path is None else str(path)
    raw = {} if path is None else fields(read(path), name)
    if unknown := [key for key in raw if key not in ("server", "campaigns", "budgets")]:
        sections = "[server], [campaigns.NAME] and [budgets.NAME]"
        raise ConfigError(f"{name}: {unknown[0]} is no section. The sections are {sections}.")
    tables = {**_table(raw, "campaigns", name), **(campaigns or {})}
    if not tables:
        raise ConfigError(f"{name}: has no campaign. Add [campaigns.NAME] with run, budget and until.")
    folder = Path() if path is None else path.parent
    given = {**_table(raw, "server", name), **_of_environment(environment), **(server or {})}
    settings = _section(ServerSettings, given, "server", name, folder)
    if not settings.keys and settings.host not in _LOOPBACK:
        raise ConfigError(
            f"server.keys == False: anybody who reaches {settings.host} could decide. Create keys with `largesse keys "
            f"create`, or listen at 127.0.0.1."
        )
    parts = {k: _campaign(part, f"campaigns.{k}", name, folder) for k, part in tables.items()}
    money = {
        k: _section(BudgetSettings, part, f"budgets.{k}", name, folder)
        for k, part in _table(raw, "budgets", name).items()
    }
    _check_budgets(parts, money, name)
    return Settings(server=settings, campaigns=parts, budgets=money, source=path)


def _check_budgets(campaigns: Mapping[str, CampaignSettings], budgets: Mapping[str, BudgetSettings], name: str) -> None:
    """Raises ConfigError unless every campaign has one budget, and every shared one has campaigns."""
    for key, one in campaigns.items():
        within = f"{name}: campaigns.{key}"
        if not one.budget_of and one.budget is None:
            raise ConfigError(
                f"{within}.budget is missing. Add it, or budget_of with the name of a section [budgets.NAME]."
            )
        if one.budget_of and one.budget is not None:
            raise ConfigError(f"{within} has both budget and budget_of. Leave out one of the two.")
        if one.budget_of and one.budget_of not in budgets:
            hint = nearest(one.budget_of, list(budgets))
            raise ConfigError(
                f"{within}.budget_of == {one.budget_of!r}: there is no such budget. {hint}Add [budgets.{one.budget_of}]."
            )
    for key in budgets:
        if not any(one.budget_of == key for one in campaigns.values()):
            raise ConfigError(
                f'{name}: budgets.{key} has no campaign. Write budget_of = "{key}" in those that share it.'
            )


def _table(raw: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    got = raw.get(key, {})
    if not isinstance(got, dict):
        raise ConfigError(f"{name}: {key} must be a table. Write [{key}{'' if key == 'server' else '.NAME'}].")
    return got


def _campaign(given: Any, within: str, name: str, folder: Path) -> CampaignSettings:
    one: CampaignSettings = _section(CampaignSettings, given, within, name, folder)
    tried = one.share > 0 or one.shadow
    if one.challenger is None and tried:
        raise ConfigError(
            f"{name}: {within}.challenger is missing, but there is a share or a shadow. Name its run folder."
        )
    if one.challenger is not None and not tried:
        raise ConfigError(f"{name}: {within}.challenger does nothing. Give it a share of the units, or shadow = true.")
    return one


def _section(kind: Any, given: Any, within: str, name: str, folder: Path) -> Any:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name}: {within} must be a table. Write [{within}] and its fields below.")
    try:
        return kind.model_validate(dict(given), context={"folder": folder})
    except ValidationError as error:
        raise ConfigError(refusal(error, {within: dict(given)}, name, {within: kind}, within)) from None


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the fields that variables of the environment set, as TOML would have them."""
    out: dict[str, Any] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX):
            continue
        field = variable.removeprefix(PREFIX).lower()
        if field not in ServerSettings.model_fields:
            known = list(ServerSettings.model_fields)
            raise ConfigError(
                f"{variable}: no such setting. {nearest(field, known)}The settings are {', '.join(known)}."
            )
        kind = ServerSettings.model_fields[field].annotation
        try:
            out[field] = text if kind is str else tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            out[field] = text
    return out
