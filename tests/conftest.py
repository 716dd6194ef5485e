"""Distribution of the tests over several processes."""

from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

os.environ["COLUMNS"] = "200"  # the terminal that commands print on: read once, when they are first imported
os.environ["LOKY_MAX_CPU_COUNT"] = (
    "1"  # the suite itself uses all cores: `fit` starts no processes unless a test asks for them
)


class OneSpark(LoadScopeScheduling):
    """Each test by itself, but those of Spark in one process: they share a session, and two of them would be in each other's way.

    The mark `xdist_group` does the same, but not with every version of pytest: where it does nothing, nothing says so.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "spark" if nodeid.startswith("tests/engines/test_spark.py") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneSpark:
    return OneSpark(config, log)
