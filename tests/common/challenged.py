"""A campaign in which a run has decided, and a challenger for a share of the units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.common.served import TREATMENTS, make_run

import sqlalchemy as sa  # isort: skip

from largesse.serving import Campaign, Ledger, Outcome  # isort: skip
from largesse.serving.http.challengers import Challenger, put_challenger, salted  # isort: skip
from largesse.serving.http.menus import load_run  # isort: skip
from largesse.serving.http.service import put_run  # isort: skip
from largesse.serving.http.settings import load_settings  # isort: skip
from largesse.serving.ledger.store import reading  # isort: skip
from largesse.serving.ledger.tables import challengers, served  # isort: skip
from tests.common.ledgers import Clock  # isort: skip

DAY, START = 86_400.0, 20_000 * 86_400.0
DEAR = (0.0, 1.0, 10.0)  # where the gift costs 10, it does not pay at a price of 0.5, and the coupon does


class World:
    """A ledger in which a run has decided, and another for a share of the units; the gift costs what it costs in truth."""

    def __init__(
        self, folder: Path, gift: float, days: int = 14, n: int = 400, share: float = 0.3, spread: float = 0.3
    ) -> None:
        self.store = f"sqlite:///{folder}/spring.db"
        self.spring, self.summer = make_run(folder / "spring"), make_run(folder / "summer", cost=DEAR)
        champion, tried, clock = load_run(self.spring), load_run(self.summer), Clock(START)
        self.versions = champion.version, tried.version
        rng, paid = np.random.default_rng(5), (0.0, 1.0, gift)
        with Ledger.open(self.store, clock=clock) as ledger:
            terms: dict[str, Any] = {"holdout": 0.05, "explore": 0.2, "matures": DAY, "price": 0.5}
            ledger.start(Campaign(name="spring", treatments=TREATMENTS, budget=1e6, until=START + 30 * DAY, **terms))
            put_run(ledger.engine, "spring", champion, features=True, now=START)
            put_challenger(ledger.engine, "spring", tried, share=share, shadow=False, now=START)
            draws = Challenger(tried, share, False, salted("spring", "spring", tried.version)).draws
            for day in range(days):
                clock.now = START + (day + 0.3) * DAY
                units = [f"{day}-{k}" for k in range(n)]
                for run, some in (
                    (champion, [u for u in units if not draws(u)]),
                    (tried, [u for u in units if draws(u)]),
                ):
                    features = [
                        {"age": float(a), "city": "north", "since": None} for a in rng.uniform(30, 50, len(some))
                    ]
                    value, cost = run.tables(run.feed([run.row(one) for one in features]))
                    got = ledger.decide_many(
                        "spring", some, value=value, cost=cost, version=run.version, features=features
                    )
                    codes = [TREATMENTS.index(one) for one in got.treatment]
                    gains = value[np.arange(len(some)), codes] + spread * rng.standard_normal(len(some))
                    clock.now += 60
                    ledger.outcomes([
                        Outcome(name, f"o{name}", cost=paid[code], value=float(gain))
                        for name, code, gain in zip(got.id, codes, gains.tolist(), strict=True)
                    ])  # fmt: skip

    def settings(self, share: float) -> Any:
        """The settings of a server whose file still names both runs as in the beginning."""
        terms = {
            "holdout": 0.05,
            "explore": 0.2,
            "price": 0.5,
            "matures": DAY,
            "budget": 1e6,
            "until": START + 30 * DAY,
        }
        runs = {"run": str(self.spring), "challenger": str(self.summer), "share": share}
        return load_settings(None, server={"store": self.store, "keys": False}, campaigns={"spring": runs | terms})

    def rows(self) -> tuple[Any, Any]:
        """What the store says of the run that decides, and of the one that is tried."""
        with Ledger.open(self.store) as ledger, reading(ledger.engine) as connection:
            return tuple(connection.execute(sa.select(table)).first() for table in (served, challengers))  # type: ignore[return-value]
