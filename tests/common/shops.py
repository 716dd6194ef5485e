"""A small experiment: customers, their spend before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

from largesse.experiment import Columns, CrossFit, Metric, Settings

LINEAR = Settings(cross_fit=CrossFit(learner=LinearRegression()))


def shop(n: int = 3000, seed: int = 0, arms: int = 2, effect: float = 1.0) -> dict[str, Any]:
    """Customers with a spend before and after, heavy tails, visits, and a city that is randomised in none of the tests."""
    rng = np.random.default_rng(seed)
    age, vip = rng.integers(18, 80, n).astype(float), rng.random(n) < 0.2
    base = 20 + 0.3 * age + 15 * vip
    arm = rng.integers(0, arms, n)
    return {
        "id": np.arange(n), "group": np.array(["control", "new", "newer"])[arm], "age": age, "vip": vip,
        "before": base + rng.normal(0, 5, n), "visits": 1 + rng.poisson(2, n),
        "spend": base + effect * arm + 5 * rng.standard_t(3, size=n),
    }  # fmt: skip


SPEND = Columns(
    arm="group", metrics=(Metric("spend", covariate="before"),), features=("age", "vip", "before"), unit="id"
)
