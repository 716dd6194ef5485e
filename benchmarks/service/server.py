"""A small run, and the server of it in processes of its own, which can be killed and started again at the same address."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx

CONFIG = """[server]
store = "{store}"
port = {port}
workers = {workers}
keys = false
reprice = 1.0
log = "warning"
[campaigns.soak]
run = "{run}"
budget = {budget}
until = 2100-01-01
price = {price}
units = {units}
holdout = 0.1
explore = 0.3
period = {period}
matures = {matures}
features = true
"""
CAMPAIGN = "soak"
_START = 60.0  # seconds in which a server must be ready


class Terms(NamedTuple):
    """The configuration of a server.

    Attributes:
        store: Store of the ledger.
        run: Run folder.
        workers: Worker processes.
        budget: Budget.
        units: Expected number of decisions.
        period: Seconds after which a unit is decided anew.
        matures: Seconds until a reservation expires.
        price: First price.
    """

    store: str
    run: Path
    workers: int
    budget: float
    units: int
    period: float
    matures: float
    price: float = 0.5


def make_run(folder: Path, seed: int) -> Path:
    """Fits a small policy on simulated data and writes its ONNX form."""
    import largesse
    from largesse.models import Boosting
    from largesse.policy import Policy
    from largesse.serving.policy_files import write_policy
    from largesse.simulate import money_off

    trial = money_off(n_features=40, seed=1).rct(4_000, seed=seed).to_frame()
    trial = trial[[c for k, c in enumerate(trial.columns) if k % 5 == 0 or c in ("treatment", "value", "cost")]]
    rows = largesse.read(trial, treatment="treatment", value="value", cost="cost")
    policy = Policy.calibrated(Boosting(rounds=20).fit(rows), rows, draws=20)
    folder.mkdir(parents=True)
    policy.save(folder / "policy")
    if why_not := write_policy(policy, folder, x=rows.x):
        raise SystemExit(why_not)
    return folder


def features(columns: list[dict[str, Any]], unit: int) -> dict[str, Any]:
    """Returns the features of a unit, the same at every call."""
    rng = random.Random(unit)
    cells = {"number": lambda _: round(rng.gauss(0, 1), 4), "text": lambda c: rng.choice(c["levels"] or ["a"])}
    return {c["name"]: cells.get(c["kind"], lambda _: None)(c) for c in columns}


class Server:
    """`largesse serve` on a free port of this machine.

    Args:
        terms: Its configuration.
        folder: Where configuration and log are written.
    """

    def __init__(self, terms: Terms, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url, self.folder, self.terms = f"http://127.0.0.1:{self.port}", folder, terms
        (folder / "server.toml").write_text(CONFIG.format(port=self.port, **terms._asdict()))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        command = [sys.executable, "-m", "largesse.serving", str(self.folder / "server.toml")]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, start_new_session=True)
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=1.0).status_code == httpx.codes.OK:
                    return
            time.sleep(0.05)
        raise SystemExit(f"The server did not start:\n{self.log()[-2000:]}")

    def log(self) -> str:
        """Returns what it has written."""
        return (self.folder / "server.log").read_text(errors="replace")

    def workers(self) -> list[int]:
        """Returns the process ids of the workers that live."""
        parent = self._parent().pid
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        except OSError:
            return []

    def kill_worker(self, rng: random.Random) -> bool:
        """Kills one of the workers; returns False if none lives."""
        pids = self.workers()
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGKILL)
        return True

    def kill(self) -> None:
        """Kills the parent and all workers at once."""
        process = self._parent()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        """Stops it as an operator does."""
        process = self._parent()
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()

    def switch(self, run: Path) -> bool:
        """Lets another run decide; returns whether the service accepted it."""
        with contextlib.suppress(httpx.HTTPError):
            put = httpx.put(
                f"{self.url}/v1/campaigns/{CAMPAIGN}/policy", json={"run": str(run.resolve())}, timeout=20.0
            )
            return put.status_code == httpx.codes.OK
        return False

    def challenge(self, run: Path) -> None:
        """Lets another run answer in the shadow of all decisions."""
        change = {"run": str(run.resolve()), "share": 0.0, "shadow": True}
        httpx.put(f"{self.url}/v1/campaigns/{CAMPAIGN}/challenger", json=change, timeout=20.0).raise_for_status()

    def processor(self) -> float:
        """Returns the processor time of the workers that live, in seconds (Linux)."""
        several = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in self.workers()]
        return sum(int(ticks) for one in several for ticks in one) / os.sysconf("SC_CLK_TCK")

    def counts(self, *names: str) -> dict[str, float]:
        """Returns sums of counters over their labels."""
        lines = [line.rpartition(" ") for line in httpx.get(f"{self.url}/metrics").text.splitlines()]
        return {name: sum(float(n) for label, _, n in lines if label.partition("{")[0] == name) for name in names}

    def _parent(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "not started"
        return self.process
