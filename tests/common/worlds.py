"""Small worlds that every model is tried on."""

from __future__ import annotations

import numpy as np

from largesse.logs import Logs


def orders(n: int = 3000, m: int = 3, seed: int = 0, design: str = "rct", effect: float = 1.0) -> Logs:
    """Orders (0/1) with a coupon of face value j, redeemed with the order."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    t = rng.integers(0, m, n)
    if design == "obs":
        t = np.where(x[:, 0] + rng.normal(size=n) > 0.5, m - 1, t)
    p = 1 / (1 + np.exp(1.2 - 0.5 * x[:, 1] - effect * t * (x[:, 0] > 0)))
    order = (rng.random(n) < p).astype(float)
    return Logs(x=x, treatment=t, value=order, cost=t * order, treatments=tuple(map(str, range(m))), design=design)


def baskets(n: int = 3000, seed: int = 0) -> Logs:
    """Revenue, mostly zero, with a share of it given back."""
    base = orders(n, seed=seed)
    rng = np.random.default_rng(seed + 1)
    value = base.value * np.exp(3 + 0.5 * rng.normal(size=n) + 0.2 * base.x[:, 2])
    return Logs(x=base.x, treatment=base.treatment, value=value, cost=0.1 * base.treatment * value)


def counts(n: int = 3000, seed: int = 0) -> Logs:
    """Numbers of orders, with a fixed cost per contact."""
    base = orders(n, seed=seed)
    rng = np.random.default_rng(seed + 1)
    value = rng.poisson(0.3 + 0.4 * base.treatment * (base.x[:, 0] > 0)).astype(float)
    return Logs(x=base.x, treatment=base.treatment, value=value, cost=1.5 * base.treatment)


def profits(n: int = 3000, seed: int = 0) -> Logs:
    """Any amount of money, with a cost that only the log knows."""
    base = orders(n, seed=seed)
    rng = np.random.default_rng(seed + 1)
    value = 2 + base.x[:, 1] + base.treatment * base.x[:, 0] + rng.normal(size=n)
    cost = base.treatment * np.exp(0.3 * base.x[:, 2] + 0.1 * rng.normal(size=n))
    return Logs(x=base.x, treatment=base.treatment, value=value, cost=cost)


def visits(n: int = 3000, seed: int = 0) -> Logs:
    """Conversions, with visits as the cost, in control too."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    t = (rng.random(n) < 0.7).astype(int)
    visit = (rng.random(n) < 0.3 + 0.2 * t * (x[:, 0] > 0)).astype(float)
    value = visit * (rng.random(n) < 0.4)
    return Logs(x=x, treatment=t, value=value, cost=visit, control_cost=True)


WORLDS = {"orders": orders, "baskets": baskets, "counts": counts, "profits": profits, "visits": visits}
