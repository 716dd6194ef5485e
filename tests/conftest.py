"""Distribution of the tests over several processes."""

from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

os.environ["COLUMNS"] = "200"  # the terminal that commands print on: read once, when they are first imported
os.environ["LOKY_MAX_CPU_COUNT"] = (
    "1"  # the suite itself uses all cores: `fit` starts no processes unless a test asks for them
)


_TOGETHER = {  # files of which each runs in one process, and why
    "tests/commands/": "its tests share runs that take long to fit",
    "tests/engines/test_spark.py": "its tests share a session of Spark, and two of them would be in each other's way",
    "tests/serving/test_stand_in.py": "its tests share runs that take long to fit",
}


class OneByOne(LoadScopeScheduling):
    """Each test by itself, but those of some files in one process; every second process begins at the end of the list.

    So two processes seldom make the fixtures of one file, or compile one kernel, at the same time.

    The mark `xdist_group` groups tests too, but not with every version of pytest: where it does nothing, nothing says so.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(tuple(_TOGETHER)) else nodeid

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne:
    return OneByOne(config, log)
