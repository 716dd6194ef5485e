"""The simulated shop of `largesse demo --live`: its trial, the customers of a day, what they order, and what a campaign was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import frames
from largesse.config import Config
from largesse.menu import Menu
from largesse.serving import Monitored
from largesse.simulate import World, money_off

__all__ = ["AMOUNTS", "ORDER", "Day", "Event", "Live", "Lived", "Scale", "Shop"]

Floats = NDArray[np.float64]
ORDER = 12.0
"""EUR that an order leaves before the coupon."""
AMOUNTS = (0.0, 2.0, 5.0)
"""EUR off an order, by coupon; none first."""
_FEATURES = 40
_OTHER = 500  # seed of the world towards which customers have moved
_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the demonstration is.

    Attributes:
        days: Days of the campaign.
        per_day: Customers of each day.
        trial: Rows of the trial before it.
        moved: How far customers have moved away from the trial's when the campaign begins, in [0, 1].
        share: Budget of a customer, as a share of what the dearest coupon would cost for everybody.
        seed: Of the world and of its draws.
    """

    days: int = 21
    per_day: int = 3_000
    trial: int = 4_000
    moved: float = 1.0
    share: float = 0.3
    seed: int = 1009


class Day(NamedTuple):
    """The customers of a day.

    Attributes:
        features: Their features, a column each.
        value: True probability of an order by coupon, (n, M).
        chance: Numbers in [0, 1): a customer orders where it is below the probability, (n,).
    """

    features: pa.Table
    value: Floats
    chance: Floats


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop whose customers respond otherwise than they did in its trial.

    Args:
        scale: How large it is.
    """

    scale: Scale
    _before: World = field(init=False, repr=False)
    _now: World = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, seed in (("_before", self.scale.seed), ("_now", self.scale.seed + _OTHER)):
            object.__setattr__(self, name, money_off(seed=seed, n_features=_FEATURES, amounts=AMOUNTS))

    @property
    def coupons(self) -> tuple[str, ...]:
        """Names of the coupons, none first."""
        return ("none", *(f"{amount:g} EUR off" for amount in AMOUNTS[1:]))

    def _table(self, x: Any) -> pa.Table:
        return pa.table({f"x{k}": column.astype(np.float64) for k, column in enumerate(x.T)})

    def configuration(self, folder: Path) -> Config:
        """Writes the rows of the trial into a folder, and returns the configuration that fits a run on them."""
        s, rng = self.scale, np.random.default_rng([self.scale.seed, 1])
        x, code = self._before.rct(s.trial, seed=s.seed + 1).x, rng.integers(0, len(AMOUNTS), s.trial)
        chance = self._before.truth(x).value[np.arange(s.trial), code]
        rows = {
            "coupon": [self.coupons[j] for j in code], "orders": (rng.random(s.trial) < chance).astype(int),
            "customer": [f"old {k}" for k in range(s.trial)],
        }  # fmt: skip
        table = self._table(x)
        for name, column in rows.items():
            table = table.append_column(name, pa.array(column))
        frames.write(table, folder / "trial.parquet")
        return Config.model_validate(
            {
                "data": {"rct": str(folder / "trial.parquet"), "folds": 1},
                "columns": {"treatment": "coupon", "value": "orders", "unit": "customer", "treatments": list(self.coupons)},
                "outcome": {
                    "cost": "per_redemption", "amounts": dict(zip(self.coupons, AMOUNTS, strict=True)), "ordered": True,
                    "value_per_unit": ORDER,
                },
                "model": {"candidates": ["lightgbm-rct"], "settings": {"lightgbm-rct": {"rounds": _ROUNDS}}},
                "budget": {"shares": [0.2, 0.4]},
                "report": {"title": "Coupons (simulated)", "value_unit": "orders", "money_unit": "EUR", "head": "customer"},
            }
        )  # fmt: skip

    def customers(self, day: int) -> Day:
        """Returns the customers of a day of the campaign."""
        s = self.scale
        x = self._before.rct(s.per_day, seed=1_000 * (s.seed + 1) + day).x
        value = (1 - s.moved) * self._before.truth(x).value.astype(np.float64) + s.moved * self._now.truth(x).value
        return Day(self._table(x), value, np.random.default_rng([s.seed, day, 2]).random(s.per_day))

    def truth(self, day: Day) -> Menu:
        """Returns what every coupon would bring and cost on average."""
        return Menu(value=day.value, cost=day.value * np.array(AMOUNTS), treatments=self.coupons)

    def budget(self) -> float:
        """Returns the budget of the campaign, from customers of no day."""
        s = self.scale
        value = self._before.truth(self._before.rct(20_000, seed=s.seed + 2).x).value[:, -1]
        return float(round(s.share * s.days * s.per_day * float(value.mean()) * AMOUNTS[-1]))


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        day: Day of the campaign, from 1.
        command: The command that it is from.
        sentence: What.
    """

    day: int
    command: str
    sentence: str


class Lived(NamedTuple):
    """A day of the campaign.

    Attributes:
        day: Its number, from 1.
        decisions: Decisions so far.
        spent: Paid so far, in EUR.
        planned: What an even spend would have paid by then.
        price: Shadow price at the end of the day.
        value: Orders per customer that what was given brings on average: the truth of the simulation.
        stays: The same if the run that decided first had decided alone, at the same spend.
        best: The same with perfect knowledge, at the same spend.
    """

    day: int
    decisions: int
    spent: float
    planned: float
    price: float
    value: float
    stays: float
    best: float


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """The finished demonstration.

    Attributes:
        folder: Holds report.html, the run folders, and the ledger.
        days: Its days.
        events: What happened.
        monitored: The signals at the end.
        scale: How large it was.
        budget: Budget of the campaign, in EUR.
    """

    folder: Path
    days: tuple[Lived, ...]
    events: tuple[Event, ...]
    monitored: Monitored
    scale: Scale
    budget: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the results as plain JSON values."""
        return {
            "folder": str(self.folder), "budget": self.budget,
            "days": [one._asdict() for one in self.days], "events": [one._asdict() for one in self.events],
            "alarms": [one._asdict() for one in self.monitored.alarms],
        }  # fmt: skip
