"""The service in an environment with its own packages only: `make test-light` builds one, and `.ci/run` runs this there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("typer") is not None, reason="everything is installed here; `make test-light` builds another environment"
)
RUN = Path(__file__).parent / "run"
"""Made by `tests.common.served.make_run`, which needs a package that is not installed here."""
CONFIG = """[server]
store = "sqlite:///{place}/ledger.db"
port = 0
keys = false
[campaigns.spring]
run = "{run}"
budget = 100
until = 2100-01-01
holdout = 0
explore = 0
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("alone")
    (place / "server.toml").write_text(CONFIG.format(place=place, run=RUN))
    process = subprocess.Popen(
        [sys.executable, "-m", "largesse.serving", str(place / "server.toml")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "Serving at " in line)
        yield line.split("Serving at ")[1].split(" with")[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_nothing_else_is_installed():
    for package in ("typer", "pyarrow", "polars", "lightgbm", "torch", "numba", "sklearn", "scipy", "onnx", "jinja2"):
        assert find_spec(package) is None, package


def test_it_decides(url: str):
    import httpx

    from largesse.client import Ask, Client, Decision, Outcome

    assert httpx.get(f"{url}/readyz", timeout=60.0).status_code == 200  # the first request waits for the worker
    with Client(url, timeout=10.0, deadline=30.0) as client:
        features = {"age": 40, "city": "north", "since": "2026-01-01"}
        got = client.decide("u1", features, key="k")
        assert (got.treatment, got.value, got.cost, got.propensity) == ("gift", 3.0, 4.0, 1.0)  # 3 - 0.5 * 4 is most
        assert client.decide("u1", features, key="k").id == got.id
        several = client.decide_many([Ask(f"v{k}", features) for k in range(50)])
        assert all(isinstance(one, Decision) for one in several)
        assert client.outcomes([Outcome(str(got.id), "order 1", 4.0, 1.0)])[0].state == "posted"
        status = client.campaign("spring")
        assert (status.decided, status.spent) == (51, 4.0)
        assert status.spent + status.reserved <= 100
    assert b"largesse" in httpx.get(f"{url}/metrics").content
    assert httpx.get(f"{url}/openapi.json").json()["openapi"]


def test_a_missing_package_is_named():
    code = "from largesse.serving import export; export"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
