"""Stores for tests of the ledger: a file of SQLite, or a database of a PostgreSQL server that the tests start."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

KINDS = ("sqlite", "postgresql")
_NUMBERS = count()


def why_no_postgres() -> str:
    """Why no server can be started here; "" if one can."""
    missing = [name for name in ("initdb", "pg_ctl") if _program(name) is None]
    if missing:
        return f"{missing[0]} of PostgreSQL is not installed"
    if find_spec("psycopg") is None:
        return "the extra 'postgres' is not installed"
    if os.getuid() == 0 and (shutil.which("runuser") is None or _user() is None):
        return "PostgreSQL refuses root, and there is no other user"
    return ""


def _program(name: str) -> str | None:
    """Returns the path of a program of the server; Debian keeps them apart from those of users."""
    places = [
        os.environ.get("PATH", os.defpath),
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    ]
    return shutil.which(name, path=os.pathsep.join(places))


def _user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@contextmanager
def postgres() -> Iterator[str]:
    """The folder of the socket of a server that runs as an unprivileged user and listens nowhere else."""
    place = Path(tempfile.mkdtemp(prefix="lg"))
    before = []
    if os.getuid() == 0:
        user = _user()
        assert user is not None
        shutil.chown(place, user)
        before = ["runuser", "-u", user, "--"]
    options = f"-k {place} -c listen_addresses='' -c fsync=off"

    def do(*command: str) -> None:
        subprocess.run([*before, *command], check=True, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    data = str(place / "data")
    try:
        do(
            str(_program("initdb")),
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--locale=C.UTF-8",
            "-E",
            "UTF8",
        )
        do(str(_program("pg_ctl")), "-D", data, "-l", str(place / "log"), "-w", "-o", options, "start")
        yield str(place)
    finally:
        subprocess.run(
            [*before, str(_program("pg_ctl")), "-D", data, "-m", "fast", "stop"],
            check=False,
            cwd=place,
            capture_output=True,
        )
        shutil.rmtree(place, ignore_errors=True)


def new_database(place: str) -> str:
    """The address of a new, empty database of a server."""
    import psycopg

    name = f"ledger_{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(host=place, user="postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"postgresql://postgres@/{name}?host={place}"
