"""The simulated campaigns of `python -m benchmarks money`: nothing is overspent, and the same seed gives the same result."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")

from benchmarks import money


def test_a_small_campaign(monkeypatch):
    monkeypatch.setattr(money, "UNITS", 400)
    monkeypatch.setattr(money, "DAYS", 10)
    monkeypatch.setattr(money, "WINDOW", 1.0)
    world = money.World(hours=True, delay=0.3)
    results = [money.simulated(world, "now", 1000) for _ in range(2)]
    assert results[0] == results[1]
    assert 40 < results[0].value < 110
    assert 40 < results[0].spend <= 100
    assert results[0].spend <= results[0].used + 1e-9 <= 100 + 1e-6


def test_units_arrive_by_their_hours():
    """Noon has five times the units of midnight, the weekend twice those of other days."""
    of = money.units(money.World(hours=True), np.random.default_rng(1000), 200_000, 28.0)
    hour = (of.time // money.HOUR).astype(int)
    of_day, of_week = np.bincount(hour % 24), np.bincount((hour // 24 + 3) % 7)  # Monday first
    assert of_day[12] / of_day[0] == pytest.approx(5, rel=0.1)
    assert of_week[5:].mean() / of_week[:5].mean() == pytest.approx(2, rel=0.03)
