"""Opens the store of a ledger, SQLite or PostgreSQL, and its transactions: one writer at a time for each campaign."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import exc

from largesse._extras import needed_for
from largesse.errors import StoreError
from largesse.serving.ledger.sql import Having, executed
from largesse.serving.ledger.tables import campaigns, migrate
from largesse.serving.ledger.turns import Late, Turns

__all__ = ["checkpoint", "forget", "locked", "open_store", "reading", "writing"]

T = TypeVar("T")
_PATIENCE = 30_000  # milliseconds to wait for another writer
_CACHE = 65_536  # KiB of pages in memory: the index of units is read at random places
_CHECKPOINT = 8_000  # pages after which the write-ahead log is brought into the file; many change again before
_READ = "largesse_read"
_TURNS: WeakKeyDictionary[sa.Engine, Turns] = WeakKeyDictionary()  # those of SQLite, which has one writer at a time
_LOCK = Having(
    lambda names: campaigns.select().where(campaigns.c.name.in_(names)).order_by(campaigns.c.name).with_for_update()
)


def open_store(url: str, *, create: bool = True) -> sa.Engine:
    """Returns the engine of a store, brought to this version if necessary; a file that is not there is created if it may be.

    Raises:
        StoreError: The store cannot be opened, or is of a newer version.
        MissingDependency: The driver of PostgreSQL is not installed.
    """
    place = _url(url)
    if not create and place.get_backend_name() == "sqlite" and not Path(str(place.database)).exists():
        raise StoreError(f"store == {url!r}: this file is not there. Check its path.")
    with needed_for("a ledger in PostgreSQL"):
        engine = _engine(place)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_connected)
        sa.event.listen(engine, "begin", _sqlite_begun)
        _TURNS[engine] = Turns(_PATIENCE / 1000)
        _patiently(lambda: _write_ahead(engine))
    try:
        with writing(engine) as connection:
            migrate(connection, place.render_as_string())
    except StoreError:
        engine.dispose()
        raise
    return engine


def _engine(place: sa.URL) -> sa.Engine:
    if place.get_backend_name() == "sqlite":
        return sa.create_engine(place, pool_use_lifo=True)  # the connection used last has the pages in memory
    return sa.create_engine(place, pool_pre_ping=True, paramstyle="format")  # values as tuples: see `Statement`


def _url(url: str) -> sa.URL:
    remedy = "Give sqlite:///FILE or postgresql://USER@HOST/DATABASE."
    try:
        place = sa.make_url(url)
    except exc.ArgumentError:
        raise StoreError(f"store: is no address of a store. {remedy}") from None
    kind = place.get_backend_name()
    if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and place.database in (None, "", ":memory:")):
        raise StoreError(f"store == {place.render_as_string()!r}: must be a file of SQLite, or PostgreSQL. {remedy}")
    return place.set(drivername="postgresql+psycopg") if place.drivername == "postgresql" else place


def _sqlite_connected(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    connection.execute(f"pragma busy_timeout = {_PATIENCE}")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma secure_delete = on")  # zeros where an erased unit stood
    connection.execute(f"pragma cache_size = -{_CACHE}")
    connection.execute(f"pragma wal_autocheckpoint = {_CHECKPOINT}")


def _sqlite_begun(connection: sa.Connection) -> None:
    # A transaction that reads first and then writes could fail because another one wrote in between: writers begin as writers.
    if connection.get_execution_options().get(_READ):
        executed(connection, "begin")
        return
    # SQLite would look for another process's end at intervals of up to 0.1 s; a look costs little.
    end, turns = time.monotonic() + _PATIENCE / 1000, _TURNS[connection.engine]
    executed(connection, "pragma busy_timeout = 0")
    try:
        while True:
            try:
                executed(connection, "begin immediate")
                return
            except (sqlite3.OperationalError, exc.OperationalError) as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            turns.pause()
    finally:
        executed(connection, f"pragma busy_timeout = {_PATIENCE}")


def _write_ahead(engine: sa.Engine) -> None:
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("pragma journal_mode = wal")
    finally:
        raw.close()


def _patiently(task: Callable[[], T]) -> T:
    """Does what SQLite refuses at once, without waiting, while another process opens the same new file."""
    for _ in range(100):
        try:
            return task()
        except (sqlite3.DatabaseError, exc.DatabaseError) as error:
            if "locked" not in str(error):
                raise StoreError(f"store: cannot be opened ({error}). Check the folder and its rights.") from error
            time.sleep(0.05)
    raise StoreError("store: another process has locked the file. Stop it, or choose another file.")


@contextmanager
def writing(engine: sa.Engine, *, patient: bool = False) -> Iterator[sa.Connection]:
    """A transaction that is committed at its end, durably, or leaves nothing behind.

    Args:
        engine: The store.
        patient: Whether the others of this process that wait go first: for long transactions.

    Raises:
        StoreError: The store failed.
    """
    turn = _TURNS.get(engine)
    with _failures(engine), turn.mine(patient=patient) if turn else nullcontext(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: sa.Engine, *, one_moment: bool = False) -> Iterator[sa.Connection]:
    """A transaction that only reads.

    Args:
        engine: The store.
        one_moment: Whether all its statements see the same moment; with PostgreSQL each sees its own otherwise.

    Raises:
        StoreError: The store failed.
    """
    options: dict[str, Any] = {_READ: True}
    if one_moment and engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with _failures(engine), engine.connect().execution_options(**options) as connection:
        yield connection


def checkpoint(engine: sa.Engine) -> None:
    """Brings what a store of SQLite has in its write-ahead log into the file, as far as nobody has to wait for it.

    Otherwise the transaction that makes the log too long does all of it, and those behind it wait. PostgreSQL does this itself.

    Raises:
        StoreError: The store failed.
    """
    _checkpoint(engine, "passive")


def forget(engine: sa.Engine) -> None:
    """Removes what was erased from the write-ahead log of SQLite; the file itself has zeros in its place.

    Raises:
        StoreError: The store failed.
    """
    _checkpoint(engine, "truncate")


def _checkpoint(engine: sa.Engine, how: str) -> None:
    if engine.dialect.name != "sqlite":
        return
    with _failures(engine):
        raw = engine.raw_connection()
        try:
            raw.cursor().execute(f"pragma wal_checkpoint({how})")
        finally:
            raw.close()


@contextmanager
def _failures(engine: sa.Engine) -> Iterator[None]:
    driver: Any = engine.dialect.dbapi
    try:
        yield
    except (exc.DBAPIError, driver.Error, Late) as error:
        raise StoreError(
            "store: the transaction failed and left nothing behind, unless the failure came at its very end "
            f"({getattr(error, 'orig', error)}). Send it again with the same keys: what was stored counts once."
        ) from error


def locked(connection: sa.Connection, names: Iterable[str]) -> dict[str, Any]:
    """Returns the rows of some campaigns, by name, locked until the transaction ends; the order of locks is always the same."""
    return {row.name: row for row in _LOCK.rows(connection, sorted(set(names)))}
