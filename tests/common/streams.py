"""Units in Parquet with a menu in their columns, allocated in small blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse.allocate.blocks import solve_blocks
from largesse.engines import parquet as engine
from largesse.engines.parquet import Units, stream
from largesse.menu import Menu
from largesse.progress import silent

N, M, SIZE = 2_300, 3, 250
NAMES = ("none", "small", "large")


def table(n: int = N, seed: int = 0, **changes: Any) -> pa.Table:
    rng = np.random.default_rng(seed)
    value, cost = (np.sort(rng.gamma(2.0, 1.0, (n, M)), axis=1).astype(np.float32) for _ in range(2))
    cost[:, 0] = 0
    columns: dict[str, Any] = {"who": np.array([f"u{k}" for k in range(n)])}
    for j, name in enumerate(NAMES):
        columns |= {f"v {name}": value[:, j], f"c {name}": cost[:, j]}
    return pa.table(columns | changes)


def menu(part: pa.Table) -> Menu:
    value, cost = (np.column_stack([part[f"{kind} {name}"].to_numpy() for name in NAMES]) for kind in "vc")
    return Menu(value=value, cost=cost, treatments=NAMES)


def units(path: Path, read: Any = menu, **changes: Any) -> Units:
    columns = tuple(f"{kind} {name}" for kind in "vc" for name in NAMES)
    return Units(
        **{"path": path, "columns": columns, "unit": "who", "menu": read, "treatments": NAMES, "key": {}} | changes
    )


def run(source: Path, output: Path, read: Any = menu, budget: float = 500.0, size: int = SIZE, **changes: Any) -> Any:
    def solved(passes: Any) -> Any:
        return solve_blocks(passes, budget)

    with blocks_of(size):
        return stream(units(source, read, **changes), output, solved, say=silent, n_threads=2)


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "BLOCK", size)
        yield


class Stops:
    """A model that raises an error after a number of blocks."""

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        self.after, self.calls, self.error = after, 0, error or KeyboardInterrupt()

    def __call__(self, part: pa.Table) -> Menu:
        if self.calls == self.after:
            raise self.error
        self.calls += 1
        return menu(part)
