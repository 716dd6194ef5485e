"""A small campaign: its configuration and its tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.common.worlds import orders

DATA = """
[data]
rct = "trial.parquet"
{more}
[columns]
treatment = "arm"
value = "orders"
cost = "spent"
unit = "user"
ignore = ["note"]
[budget]
shares = [0.25, 0.5]
"""
TEXT = (
    DATA
    + """[model]
candidates = ["lightgbm-rct", "mlp-rct"]
members = 1
epochs = 1
[run]
draws = 40
"""
)


def table(n: int, seed: int, design: str = "rct") -> pa.Table:
    logs = orders(n, seed=seed, design=design)
    columns = {f"f{k}": logs.x[:, k] for k in range(4)}
    city = np.array(["north", "south", "east"])[np.random.default_rng(seed).integers(0, 3, n)]
    age = [None if k % 17 == 0 else float(20 + k % 50) for k in range(n)]
    return pa.table(
        {**columns, "city": city, "age": pa.array(age), "arm": [f"{5 * t}" for t in logs.treatment], "orders": logs.value,
         "spent": 5 * logs.cost, "user": np.arange(n), "note": ["x"] * n}
    )  # fmt: skip
