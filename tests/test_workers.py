"""Tasks on several cores: the same results, errors that name their cause, no process left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from largesse._workers import Workers, cores
from largesse.errors import (
    DataError,
    InfeasibleBudget,
    InfeasibleRules,
    LargesseError,
    MissingDependency,
    UsedInTraining,
)

ROWS = {"x": np.arange(1_000_000.0), "name": "rows"}


def scaled(shared: dict[str, Any], task: int) -> tuple[float, int]:
    """The mean of the shared rows times the task, and the process that computed it."""
    time.sleep(0.02)
    return float(shared["x"].mean()) * task, os.getpid()


def imported(shared: object, name: str) -> tuple[bool, int]:
    """Whether a module is imported, and where."""
    time.sleep(0.2)
    return name in sys.modules, os.getpid()


def failing(shared: object, task: int) -> int:
    """Refuses one task."""
    if task == 3:
        raise InfeasibleBudget(1.0, 2.0)
    time.sleep(0.05)
    return task


def dying(shared: object, task: int) -> int:
    """Ends its process from outside, as a system without memory does; never that of the tests."""
    if os.getpid() != shared:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return task


def begun(n: int) -> Workers:
    """Processes that are ready."""
    workers = Workers(n)
    for one in workers.ready:
        one.result()
    return workers


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_task_is_done_once_wherever_it_runs(n: int):
    with begun(n) as workers:
        done = dict(workers.run(scaled, ROWS, iter(range(60))))
    assert sorted(done) == list(range(60))
    assert all(value == 499_999.5 * task for task, (value, _) in done.items())
    assert (len({pid for _, pid in done.values()}) > 1) == (n > 1)


def test_processes_import_what_they_will_need():
    with begun(2) as workers:
        workers.prepare("zipapp")
        everywhere = [one for _, one in workers.run(imported, None, ["zipapp"] * 4)]
    there = [known for known, process in everywhere if process != os.getpid()]
    assert there
    assert all(there)
    assert "zipapp" not in sys.modules
    Workers(1).prepare("zipapp")  # nobody has to


def test_no_task_waits_for_a_process_that_is_not_ready():
    with begun(2) as workers:
        busy = workers.pool.submit(time.sleep, 3)
        late = Workers(2)
        assert {pid for _, (_, pid) in late.run(scaled, ROWS, range(4))} == {os.getpid()}
        assert not busy.done()
        late.ready[0].result()
        assert len({pid for _, (_, pid) in late.run(scaled, ROWS, range(8))}) == 2


def process_of(rows: dict[str, Any]) -> tuple[float, int]:
    """The mean of the rows, and the process that computed it."""
    if rows["x"][1] == 0:
        raise DataError("no rows")
    return float(rows["x"].mean()), os.getpid()


def dying_beside(home: int) -> int:
    """Ends its process; never that of the tests."""
    return dying(home, 7)


def test_what_is_done_beside_is_done_here_if_no_process_is_free():
    assert Workers(1).beside(process_of, ROWS)() == (499_999.5, os.getpid())
    with begun(2) as workers:
        taken = workers.beside(process_of, ROWS)
        time.sleep(0.5)
        mean, process = taken()
        assert mean == 499_999.5
        assert process != os.getpid()
        busy = [workers.pool.submit(time.sleep, 1) for _ in range(4)]
        assert Workers(2).beside(process_of, ROWS)()[1] == os.getpid(), "not ready"
        assert workers.beside(process_of, ROWS)()[1] == os.getpid(), "not free"
        assert not all(one.done() for one in busy)
        with pytest.raises(DataError, match="no rows"):
            workers.beside(process_of, {"x": np.zeros(2)})()
        late = workers.beside(dying_beside, os.getpid())
        time.sleep(4.5)
        with pytest.raises(LargesseError, match="ended from outside"):
            late()


def test_a_library_that_a_task_loads_is_limited_for_the_next():
    """In a process of its own: here all are loaded."""
    code = (
        "import sys\n"
        "from threadpoolctl import threadpool_info\n"
        "from largesse._workers import one_thread\n"
        "with one_thread(): import numpy, scipy.linalg, sklearn.ensemble\n"
        "assert max(pool['num_threads'] for pool in threadpool_info()) == 3\n"
        "with one_thread(): print([pool['num_threads'] for pool in threadpool_info()])\n"
        "assert max(pool['num_threads'] for pool in threadpool_info()) == 3\n"
    )
    three = os.environ | {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], env=three, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.strip("[]\n ").split(", ")) == {"1"}


def test_tasks_are_taken_one_by_one():
    """What decides whether there is another task may look at the results so far."""
    results: list[int] = []

    def tasks():
        for k in range(100):
            if len(results) > 5:
                return
            yield k

    with Workers(2) as workers:
        for task, _ in workers.run(scaled, ROWS, tasks()):
            results.append(task)
    assert 6 <= len(results) <= 9


def test_no_task_is_begun_after_the_results_are_closed():
    taken: list[int] = []

    def tasks():
        for k in range(1000):
            taken.append(k)
            yield k

    with begun(2) as workers:
        workers.pool.submit(time.sleep, 1)
        results = Workers(2).run(scaled, ROWS, tasks())  # its process is ready when the results are closed
        next(results)
        results.close()
        begun_tasks = len(taken)
        workers.pool.submit(int).result()
        time.sleep(0.3)
        assert len(taken) == begun_tasks


@pytest.mark.parametrize("n", [1, 2])
def test_an_error_of_a_task_is_that_of_the_call(n: int):
    with pytest.raises(InfeasibleBudget, match="cheapest plan costs 2") as caught, Workers(n) as workers:
        list(workers.run(failing, None, range(8)))
    assert (caught.value.budget, caught.value.cheapest) == (1.0, 2.0)


def test_an_error_of_what_gives_the_tasks_is_not_lost():
    def tasks():
        yield 0
        yield 1
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"), Workers(2) as workers:
        list(workers.run(failing, None, tasks()))


def test_a_process_that_is_killed_is_named():
    with pytest.raises(LargesseError, match=r"ended from outside.*run\.threads = 1"), begun(2) as workers:
        list(workers.run(dying, os.getpid(), range(4)))
    with Workers(2) as workers:
        assert dict(workers.run(failing, None, [7, 8])) == {7: 7, 8: 8}, "the next call has processes again"


def test_a_process_that_ended_before_the_tasks_is_named():
    with begun(2) as workers:
        workers.pool.submit(dying_beside, 0).exception()
        with pytest.raises(LargesseError, match=r"ended from outside.*run\.threads = 1"):
            list(workers.run(failing, None, range(4)))


def test_errors_travel_between_processes():
    errors = [
        DataError.at("cost", "[3] == -1.0: must be >= 0."), UsedInTraining("used", used=3, rows=5), InfeasibleBudget(1.0, 2.0),
        InfeasibleRules(("a", "b"), proven=False), MissingDependency("torch", "learn", "a network"), LargesseError("plain"),
    ]  # fmt: skip
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), again.__dict__) == (str(error), error.__dict__)


def test_processes_end_with_their_parent():
    """A parent that is killed at once cannot end its processes: they notice."""
    code = (
        "import os, time; from largesse._workers import Workers; workers = Workers(2)\n"
        "print(workers.pool.submit(os.getpid).result(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(child)
    parent.stdout.close()


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cores() == 1
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT")
    assert 1 <= cores() <= min(8, len(os.sched_getaffinity(0)))
