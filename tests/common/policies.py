"""Tables with every kind of column, and policies learned from them, with their ONNX form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import largesse
from largesse.logs import Logs
from largesse.models import Model
from largesse.models.outcome import Outcome
from largesse.models.registry import Settings, make
from largesse.policy import Policy
from largesse.serving.policy_files import write_policy
from tests.common.worlds import WORLDS

DAY = np.timedelta64(1, "D")


def columns(n: int, seed: int, *, odd: bool = False) -> dict[str, Any]:
    """Columns of every kind; `odd`: with missing and infinite cells, and labels that no training row had."""
    rng = np.random.default_rng(seed)
    city = np.array([" north", "south", "east "], object)[rng.integers(0, 3, n)]
    city[rng.random(n) < 0.1] = None
    rare = np.array([f"r{k}" for k in rng.geometric(0.2, n)], object)  # the rarest are one level: other
    size = rng.integers(36, 40, n).astype(str).astype(object)
    since = np.datetime64("2019-03-01") + rng.integers(0, 900, n) * DAY
    clock = np.datetime64("2024-01-01T00:00:00", "us") + rng.integers(0, 10**13, n).astype("timedelta64[us]")
    wait = rng.integers(0, 10**6, n).astype("timedelta64[s]")
    amount = np.round(rng.normal(size=n), 2)
    amount[rng.random(n) < 0.1] = np.nan
    if odd:
        for column, other in ((city, "west"), (rare, "never"), (size, "99"), (city, None), (rare, None)):
            column[rng.random(n) < 0.1] = other
        since[rng.random(n) < 0.1] = np.datetime64("NaT")
        wait[rng.random(n) < 0.1] = np.timedelta64("NaT")
        amount[rng.random(n) < 0.05] = np.inf
        amount[rng.random(n) < 0.05] = 1e30
    big = 3_000_000_000 + rng.integers(0, 1000, n)  # single precision has not all of these
    return {
        "amount": amount, "big": big, "city": city, "clock": clock, "price": rng.random(n) > 0.5, "rare": rare, "since": since,
        "size": size, "wait": wait,
    }  # fmt: skip


def table(world: str, n: int, seed: int, *, odd: bool = False) -> pa.Table:
    """Rows of a world; its features drive the outcome, the other columns do not."""
    logs: Logs = WORLDS[world](n, seed=seed)
    own = {f"f{k}": logs.x[:, k].astype(np.float64) for k in range(4)}
    cells = own | columns(n, seed, odd=odd)
    # Missing cells of numpy's dates are NaT, which pyarrow reads as missing.
    features = {name: pa.array(c, from_pandas=True) for name, c in cells.items()}
    features["size"] = features["size"].dictionary_encode()
    return pa.table(features | {"arm": [str(t) for t in logs.treatment], "won": logs.value, "paid": logs.cost})


def raw(users: pa.Table) -> dict[str, Any]:
    """The cells of a table as a server gets them: numpy arrays, and lists of text with None."""
    out: dict[str, Any] = {}
    for name in users.column_names:
        column = users[name]
        text = pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)
        out[name] = column.to_pylist() if text else column.to_numpy()
    return out


def learned(name: str, world: str, n: int = 1500, **settings: Any) -> tuple[Model, Logs]:
    """A registered model, learned from a small trial and a log, and the rows of the trial."""
    rows = largesse.read(
        table(world, n, 1), treatment="arm", value="won", cost="paid", control="0", control_cost=world == "visits"
    )
    log = replace(largesse.read(table(world, n, 2), like=rows), design="obs", propensity=None)
    how = {"members": 2, "epochs": 1, **settings}
    return make(name, Settings(outcome=Outcome.infer(rows), **how)).fit(rows, log), rows


def saved(model: Model, rows: Logs, folder: Path, **more: Any) -> Policy:
    """A policy of the model, in a folder with its ONNX form."""
    policy = Policy.calibrated(model, rows, draws=20)
    folder.mkdir(exist_ok=True)
    policy.save(folder / "policy")
    assert write_policy(policy, folder, x=rows.x, **more) == ""
    return policy
