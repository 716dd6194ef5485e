"""The simulated campaign of the demonstration: coupons of four levels, decided from files, then compared with the truth."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from largesse import frames
from largesse.commands.findings.envelope import Rivals, envelope
from largesse.commands.fit import Run, fit
from largesse.config import Config
from largesse.logs import Logs
from largesse.models import Boosting
from largesse.models.outcome import Outcome
from largesse.policy.deployed import Policy
from largesse.progress import Say, silent
from largesse.report.envelope import Envelope
from largesse.simulate import World, money_off

__all__ = ["CAUTION", "ORDER", "STORY", "TREES", "Size", "decide", "open_envelope", "world_of"]

ORDER = 12.0  # EUR that one order leaves before the coupon
_AMOUNTS = (0.0, 2.0, 4.0, 6.0)
TREES = ("lightgbm", "lightgbm-rct")  # of few trees: the demonstration is to take a minute
_ROUNDS = 120
_LATER = 10**6  # seeds of the log and of the units of the envelope: other draws than the trial's

STORY = (
    "Simulated data. A shop can give each customer a coupon of 2, 4 or 6 EUR, or none. It is paid only if the customer orders;"
    " an order leaves 12 EUR before the coupon. There is a trial in which coupons were drawn at random, and the log of past "
    "campaigns, in which customers who order anyway got more. Who should get which coupon, at which budget?"
)
CAUTION = "The rows are simulated (largesse.simulate.money_off): no real customers, and features without meaning."


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of the trial, rows of the log, units of the envelope, and the seed of the world and of its draws."""

    trial: int = 30_000
    log: int = 20_000
    units: int = 100_000
    seed: int = 0


def world_of(size: Size) -> World:
    """Returns the world: a past policy that follows base rates and a confounder which no table records."""
    hard = {"noise": 0.5, "selection": 2.0, "confounding": 1.0, "overlap": 0.05}
    return money_off(seed=size.seed, n_features=40, rate=0.15, amounts=_AMOUNTS, **hard)  # type: ignore[arg-type]


def decide(world: World, size: Size, folder: Path, say: Say = silent) -> Run:
    """Returns the finished run: fitted to files with the rows of the trial and of the log, and nothing else of the world."""
    with tempfile.TemporaryDirectory() as place:
        trial, log = Path(place) / "trial.parquet", Path(place) / "past.parquet"
        frames.write(_table(world.rct(size.trial, size.seed)), trial)
        frames.write(_table(world.obs(size.log, size.seed + _LATER)), log)
        config = Config.model_validate(
            {
                "data": {"rct": str(trial), "obs": str(log)},
                "columns": {"treatment": "coupon", "value": "orders", "treatments": list(world.treatments)},
                "outcome": {"cost": "per_redemption", "amounts": _amounts(world), "ordered": True, "value_per_unit": ORDER},
                "model": {"candidates": list(TREES), "settings": {name: {"rounds": _ROUNDS} for name in TREES}},
                "budget": {"shares": [0.1, 0.2, 0.4, 0.6]},
                "report": {"title": "Coupons of 2, 4 and 6 EUR (simulated)", "value_unit": "orders", "money_unit": "EUR",
                           "head": "customer"},
            }
        )  # fmt: skip
        return fit(config, folder=folder, replace=True, say=say, cautions=(CAUTION,))


def open_envelope(run: Run, world: World, size: Size) -> Envelope:
    """Returns the truth about the budget that the run leads with, for new units of the world."""
    trial, log = world.rct(size.trial, size.seed), world.obs(size.log, size.seed + _LATER)
    units = world.rct(size.units, size.seed + 2 * _LATER)
    outcome = Outcome.infer(trial, cost="per_redemption", amounts=_amounts(world), ordered=True)
    rivals = Rivals(
        policy=Policy.load(run.folder / "policy").menu(_features(units)),
        trial=Boosting(outcome=outcome, data="rct", rounds=_ROUNDS).fit(trial).predict(units.x),
        log=Boosting(outcome=outcome, data="obs", rounds=_ROUNDS).fit(trial, log).predict(units.x),
    )
    return envelope(run.metrics, rivals, world.truth(units.x), ORDER)


def _amounts(world: World) -> dict[str, float]:
    return dict(zip(world.treatments, map(float, world.amounts), strict=True))


def _features(logs: Logs) -> pa.Table:
    return pa.table({name: logs.x[:, k] for k, name in enumerate(logs.features)})


def _table(logs: Logs) -> pa.Table:
    """Returns the rows as a user has them: features, the coupon, the orders. Costs follow from the rule."""
    coupon = pa.array([logs.treatments[t] for t in logs.treatment])
    return _features(logs).append_column("coupon", coupon).append_column("orders", pa.array(logs.value.astype(int)))
