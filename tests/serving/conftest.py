"""Stores of ledgers: every test of them runs on SQLite and, where it can be had, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.common import stores


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if why := stores.why_no_postgres():
        pytest.skip(why)
    with stores.postgres() as place:
        yield place


@pytest.fixture(params=stores.KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return stores.new_database(request.getfixturevalue("server"))
