"""Atomic writing of files and folders.

Each is written under a temporary name in the same folder and renamed when complete, so a reader sees the old version, the new
version or none, never a partial one.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import re
import shutil
import socket
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from largesse.errors import StoreError

__all__ = [
    "MANIFEST", "PathLike", "atomic_bytes", "atomic_file", "atomic_folder", "atomic_text", "locked", "may_replace", "may_write",
    "read_bounded", "read_entries", "real", "timed", "writing",
]  # fmt: skip

MANIFEST = "manifest.json"
LISTING = ".largesse.json"
_ENTRIES = 1_000_000
PathLike = str | os.PathLike[str]


@contextmanager
def atomic_folder(path: PathLike, *, replace: bool = False, marker: str = MANIFEST) -> Iterator[Path]:
    """Yields an empty folder, renamed to `path` on success and removed on any failure or interrupt.

    Args:
        path: Final path of the folder; missing parent folders are created.
        replace: Whether to replace an existing folder once the new one is complete, by one renaming. Only a folder that was
            written by this function gives way, and files in it that were not written by it survive.
        marker: Name of a file that folders of this kind contain: an existing folder without it is never replaced, unless empty.

    Raises:
        StoreError: `path` exists and may not be replaced, or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with atomic_folder(place + "/run") as folder:
    ...         _ = (folder / "note.txt").write_text("done")
    ...     sorted(p.name for p in Path(place).rglob("*"))
    ['.largesse.json', 'note.txt', 'run']
    """
    target = real(path)
    _may_take(target, replace, marker)
    partial = _partial(target)
    try:
        with writing(path):
            partial.mkdir(parents=True)
        with writing(path):
            yield partial
        _may_take(target, replace, marker)
        with writing(path):
            (partial / LISTING).write_text(
                json.dumps({"made by": "largesse", "files": _names(partial)}), encoding="utf-8"
            )
            _move(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # after the move it is no longer there


@contextmanager
def atomic_file(path: PathLike) -> Iterator[Path]:
    """Yields the path of a temporary file, renamed to `path` on success and removed on any failure.

    Args:
        path: Final path of the file; its folder must exist. An existing file is replaced.

    Raises:
        StoreError: `path` is a folder, a device or a pipe.
        OSError: The file cannot be renamed to `path`.
    """
    may_replace(path)
    target = real(path)
    partial = _partial(target)
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def may_replace(path: PathLike) -> None:
    """Checks that a path is that of a file or of nothing: renaming to it would replace a device such as /dev/null.

    Raises:
        StoreError: It is a folder, a device or a pipe.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "a device or a pipe"
        raise StoreError(
            f"{os.fspath(path)}: cannot be written (it is {what}, which no file replaces). Choose another name."
        )


def atomic_bytes(path: PathLike, data: bytes) -> Path:
    """Writes a file atomically and returns its path; its folder must exist, an existing file is replaced.

    Raises:
        StoreError: The file cannot be written.
    """
    with writing(path), atomic_file(path) as partial:
        partial.write_bytes(data)
    return Path(path)


def atomic_text(path: PathLike, text: str) -> None:
    """Writes a text file in UTF-8, line ends unchanged, as `atomic_bytes` does.

    Raises:
        StoreError: The file cannot be written.
    """
    atomic_bytes(path, text.encode())


@contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turns an OSError into a StoreError that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise StoreError(
            f"{os.fspath(path)}: cannot be written ({reason}). Check that its folder exists, is writable and has room."
        ) from error


@contextmanager
def locked(folder: PathLike) -> Iterator[bool]:
    """Locks a folder against other processes, and yields whether it is locked; the lock ends with the process.

    Where the system has no file locks, it yields True.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover  (Windows)
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        else:
            alone = True
        yield alone
    finally:
        os.close(handle)


def may_write(path: PathLike, *, replace: bool = False, marker: str = "config.toml") -> None:
    """Checks, before a long run, that a folder can be created at its end; creates missing parent folders.

    Raises:
        StoreError: The folder exists and may not be replaced, or its parent is not writable.
    """
    target = real(path)
    _may_take(target, replace, marker)
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = _partial(target)
        probe.mkdir()
        probe.rmdir()


def real(path: PathLike) -> Path:
    """Returns the absolute path without links; no error where the path is too long or links form a loop.

    Raises:
        StoreError: The path has a null character, so that no file can have it.
    """
    if "\0" in os.fspath(path):
        raise StoreError(f"{os.fspath(path)!r}: cannot be written (it has a null character). Choose another name.")
    return Path(os.path.realpath(path))


def _partial(target: Path) -> Path:
    """Returns a temporary name beside `target`; what dead processes left under such names is removed first."""
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())
    for old in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        made = re.fullmatch(rf"\.{re.escape(target.name)}\.{re.escape(host)}-(\d+)-[0-9a-f]{{32}}\.partial", old.name)
        if made and not _alive(int(made[1])):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{host}-{os.getpid()}-{uuid.uuid4().hex}.partial")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def read_bounded(path: PathLike, most: int) -> bytes:
    """Returns the content of a regular file of at most so many bytes.

    Raises:
        StoreError: It is missing, is no regular file (a device or a pipe would never end), or is larger.
    """
    place = Path(path)
    try:
        found = os.stat(place)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{place}: is no file. Copy the whole folder again.")
        if found.st_size > most:
            raise StoreError(
                f"{place}: has {found.st_size:,} bytes, at most {most:,} are read. It was not made by largesse."
            )
        return place.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character
        what = (
            "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or str(error)
        )
        raise StoreError(
            f"{place}: {what}. The folder is incomplete or was not made by largesse. Copy the whole folder again, or save again."
        ) from error


def read_entries(path: PathLike, most: int) -> bytes:
    """Returns the content of a JSON file as `read_bounded` does, unless its entries would fill the memory.

    Raises:
        StoreError: As for `read_bounded`, or it has more than a million entries.
    """
    data = read_bounded(path, most)
    if sum(map(data.count, (b",", b"[", b"{"))) > _ENTRIES:  # each takes many times its bytes in memory
        raise StoreError(
            f"{os.fspath(path)}: is damaged (it has more than {_ENTRIES:,} entries). Copy the whole folder again, or save again."
        )
    return data


def timed(prefix: str) -> str:
    """Returns the name of a new folder: the time, and four digits that keep apart what began in one second."""
    return f"{prefix}{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def _may_take(target: Path, replace: bool, marker: str) -> None:
    if not os.path.lexists(target):
        return
    if not replace:
        raise StoreError(f"{target}: exists already. Choose another name, or replace it (replace=True, --replace).")
    if not target.is_dir() or (any(target.iterdir()) and not ((target / marker).is_file() and _ours(target))):
        raise StoreError(
            f"{target}: exists and was not made by largesse ({marker}), so it is not replaced. Choose another name."
        )


def _ours(folder: Path) -> bool:
    """Returns whether a folder was written by `atomic_folder`, or by a version before there were lists of files."""
    if _listed(folder) is not None:
        return True
    for name in (MANIFEST, f"policy/{MANIFEST}", "table.json"):
        try:
            if {"format", "package", "model_sha256"} & set(json.loads((folder / name).read_bytes())):
                return True
        except (OSError, ValueError, TypeError, RecursionError):
            continue
    return False


def _listed(folder: Path) -> set[str] | None:
    """Returns the names of the files that `atomic_folder` wrote into a folder; None if it did not write it."""
    try:
        listing = json.loads((folder / LISTING).read_bytes())
        return set(listing["files"]) if listing["made by"] == "largesse" else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _move(partial: Path, target: Path) -> None:
    """Renames `partial` to `target`. An older target changes places with it and is deleted, files of others are kept."""
    if not target.exists():
        os.rename(partial, target)
        return
    _keep_others(target, partial)
    if _exchanged(partial, target):
        shutil.rmtree(partial, ignore_errors=True)
        return
    older = target.with_name(partial.name.removesuffix(".partial") + ".old")
    os.rename(target, older)
    try:
        os.rename(partial, target)
    except BaseException:
        os.rename(older, target)
        raise
    shutil.rmtree(older, ignore_errors=True)


def _keep_others(older: Path, newer: Path) -> None:
    """Puts the files of an older folder that `atomic_folder` did not write into the newer one."""
    listed = _listed(older) or set()
    for path in older.iterdir():
        if path.name == LISTING or path.name in listed or (newer / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, newer / path.name, symlinks=True)
        else:
            shutil.copy2(path, newer / path.name, follow_symlinks=False)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchanges two folders by one renaming, where the system can (Linux); returns whether it did."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2
    return int(rename(here, os.fsencode(first), here, os.fsencode(second), exchange)) == 0
