"""What happens before workers start: the store is opened, campaigns are started, and each is given its run and first price."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from largesse import _check
from largesse._files import read_bounded
from largesse.errors import ConfigError, StoreError
from largesse.serving.http.access import list_keys
from largesse.serving.http.challengers import check_challenger, put_challenger, remove_challenger
from largesse.serving.http.menus import Loaded, load_run
from largesse.serving.http.service import Service, put_run
from largesse.serving.http.settings import CampaignSettings, Settings, moment
from largesse.serving.ledger.book import Ledger
from largesse.serving.ledger.changes import CHALLENGER, RUN, last_change
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.terms import Campaign, Status

__all__ = ["begin", "make_service", "maker"]

_METRICS, _LARGEST = "metrics.json", 1 << 26


class _Begun(NamedTuple):
    status: Status
    loaded: Loaded
    why: str  # it decides in place of the run that the file names; "" where it is that one


def begin(settings: Settings) -> list[str]:
    """Starts the campaigns of a configuration, or changes them to what it has; returns a sentence for each.

    Raises:
        ConfigError: No price is known, or there is no key although keys are needed.
        LargesseError: A run cannot be loaded, a campaign cannot change in this way, or the store failed.
    """
    runs = {name: load_run(one.run) for name, one in settings.campaigns.items()}  # all, before anything is changed
    terms = {name: _campaign(name, one, runs[name], settings) for name, one in settings.campaigns.items()}
    tried = {name: load_run(one.challenger) for name, one in settings.campaigns.items() if one.challenger is not None}
    for name, loaded in tried.items():
        check_challenger(runs[name], loaded, name)
    with Ledger.open(settings.server.store) as ledger:
        if settings.server.keys and not any(row["revoked"] is None for row in list_keys(ledger.engine)):
            raise ConfigError(
                "server.keys == True: the store has no key, so nobody could ask. Create one: largesse keys create --store "
                "STORE --role decide; or serve without keys on this machine alone: --no-keys."
            )
        begun, shared = list[_Begun](), dict[str, Status]()
        for key, budget in settings.budgets.items():
            mine = [terms[name] for name, one in settings.campaigns.items() if one.budget_of == key]
            shared |= {status.campaign: status for status in ledger.share(key, budget.budget, mine)}
        for name, campaign in terms.items():
            one = settings.campaigns[name]
            status = shared[name] if one.budget_of else ledger.start(campaign)
            loaded, why = _deciding(ledger, name, runs[name])
            put_run(ledger.engine, name, loaded, features=one.features, now=ledger.clock(), why=why)
            challenger, share = tried.get(name), one.share
            if challenger is not None:
                challenger, share = _tried(ledger, name, loaded, challenger, share)
            if challenger is None:
                remove_challenger(ledger.engine, name, now=ledger.clock())
            else:
                put_challenger(ledger.engine, name, challenger, share=share, shadow=one.shadow, now=ledger.clock())
            begun.append(_Begun(status, loaded, why))
    return [_sentence(one) for one in begun]


def _deciding(ledger: Ledger, campaign: str, named: Loaded) -> tuple[Loaded, str]:
    """Returns the run that decides, and why it is not the named one: that was replaced by `largesse promote`."""
    with reading(ledger.engine) as connection:
        last = last_change(connection, campaign, RUN)
    if last is None or not last.after.get("why") or (last.before or {}).get("version") != named.version:
        return named, ""
    return load_run(Path(last.after["run"])), str(last.after["why"])


def _tried(
    ledger: Ledger, campaign: str, deciding: Loaded, named: Loaded, share: float
) -> tuple[Loaded | None, float]:  # fmt: skip
    """Returns the challenger and its share: as named, unless `largesse promote` has changed or ended its trial since."""
    if named.version == deciding.version:
        return None, 0.0
    with reading(ledger.engine) as connection:
        last = last_change(connection, campaign, CHALLENGER)
    if last is None or not last.after.get("why"):
        return named, share
    if last.after["version"] is None:
        return (None, 0.0) if (last.before or {}).get("version") == named.version else (named, share)
    return named, float(last.after["share"]) if last.after["version"] == named.version else share


def _sentence(one: _Begun) -> str:
    status, written = one.status, partial(_check.written, digits=12)
    joint = (
        "" if status.joint_budget is None else f" of {written(status.joint_budget)} that it shares ({status.budget_of})"
    )
    return (
        f"Campaign {status.campaign}: run {one.loaded.version} decides among {', '.join(one.loaded.policy.treatments)}; budget "
        f"{written(status.budget)}{joint}, of which {written(status.spent)} is spent and {written(status.reserved)} reserved; "
        f"until {moment(status.until)}; price {_check.written(status.price)}."
        + (f" It has replaced the run that the configuration names: {one.why}." if one.why else "")
    )


def _campaign(name: str, given: CampaignSettings, loaded: Loaded, settings: Settings) -> Campaign:
    fields = given.model_dump(
        exclude={"run", "budget", "budget_of", "price", "features", "challenger", "share", "shadow"}
    )
    if given.exploration == "thompson" and not loaded.policy.members:
        raise ConfigError(
            f'campaigns.{name}.exploration == "thompson": the model of {loaded.run} is no ensemble whose members could vote. '
            'Fit a stack of models (the default), or choose "cost-neutral".'
        )
    budget = _first_part(given, settings)
    price = given.price if given.price is not None else _first_price(name, given, budget, loaded)
    return Campaign(name=name, treatments=tuple(loaded.policy.treatments), budget=budget, price=price, **fields)


def _first_part(given: CampaignSettings, settings: Settings) -> float:
    """Returns the budget of a campaign; of one that shares it the part to begin with: by the expected units, else an even one."""
    if given.budget is not None:
        return given.budget
    all_units = [one.units for one in settings.campaigns.values() if one.budget_of == given.budget_of]
    units = [1.0 if None in all_units else float(one or 1.0) for one in all_units]
    own = 1.0 if None in all_units else float(given.units or 1.0)
    return settings.budgets[given.budget_of].budget * own / sum(units)


def _first_price(name: str, given: CampaignSettings, budget: float, loaded: Loaded) -> float:
    """Returns the price of the budget per unit on the run's held-out rows, else the price at which everybody gets what pays."""
    if given.units is not None:
        by_budget = _prices(given.run)
        if by_budget:
            budgets, prices = zip(*sorted(by_budget.items()), strict=True)
            return float(np.interp(budget / given.units, budgets, prices))
    if loaded.policy.price is not None:
        return loaded.policy.price
    more = "" if given.units else f", or campaigns.{name}.units (--units), how many decisions the budget is for,"
    raise ConfigError(
        f"campaigns.{name}.price: is missing, and the run has none. Give the price that `largesse allocate` prints "
        f"(--price){more} and the run's proof gives it."
    )  # fmt: skip


def _prices(run: Path) -> dict[float, float]:
    """Returns the price at each budget per unit of the run's proof; none where it has no proof."""
    if not (run / _METRICS).is_file():
        return {}
    try:
        rows = json.loads(read_bounded(run / _METRICS, _LARGEST))["rows"]
        return {
            float(row["budget"]): float(row["price"]) for row in rows
            if row["name"] == "policy" and row["budget"] is not None and row["price"] is not None
        }  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{run / _METRICS}: is no proof of a run. Copy the whole folder again.") from error


def make_service(settings: Settings) -> Service:
    """Returns the service of one worker, not started."""
    return Service(Ledger.open(settings.server.store), settings.server, tuple(settings.campaigns))


def maker(settings: Settings) -> Callable[[], Service]:
    """Returns a function that makes the service, which another process can take."""
    return partial(make_service, settings)
