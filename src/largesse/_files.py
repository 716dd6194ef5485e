"""Files and folders that appear whole or not at all: the one place that writes them.

What is written lies beside its place under another name and is renamed when it is complete, so whoever looks sees the old one,
the new one or none.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from largesse.errors import StoreError

__all__ = [
    "MANIFEST",
    "PathLike",
    "atomic_bytes",
    "atomic_file",
    "atomic_folder",
    "atomic_text",
    "may_write",
    "writing",
]

MANIFEST = "manifest.json"
PathLike = str | os.PathLike[str]


@contextmanager
def atomic_folder(path: PathLike, *, replace: bool = False, marker: str = MANIFEST) -> Iterator[Path]:
    """Yields an empty folder that takes its place at `path` on success and is removed on any failure or interrupt.

    Args:
        path: Where the folder shall be in the end; folders above it are made too.
        replace: Whether an older folder gives way, once the new one is complete.
        marker: Name of a file by which an older folder is known as ours: no other is ever deleted, unless it is empty.

    Raises:
        StoreError: `path` exists and may not be replaced, or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with atomic_folder(place + "/run") as folder:
    ...         _ = (folder / "note.txt").write_text("done")
    ...     sorted(p.name for p in Path(place).rglob("*"))
    ['note.txt', 'run']
    """
    target = Path(os.path.realpath(path))
    _may_take(target, replace, marker)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        with writing(path):
            partial.mkdir(parents=True)
        with writing(path):
            yield partial
        _may_take(target, replace, marker)
        with writing(path):
            _move(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # after the move it is no longer there


@contextmanager
def atomic_file(path: PathLike) -> Iterator[Path]:
    """Yields the path of a file to write, which takes the place of `path` on success and is removed on any failure.

    Args:
        path: Where the file shall be in the end; its folder must exist. An older file gives way.

    Raises:
        OSError: The file cannot be put in its place.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def atomic_bytes(path: PathLike, data: bytes) -> Path:
    """Writes a file, whole or not at all, and returns its path; an older file gives way.

    Args:
        path: The file; its folder must exist.
        data: What it shall hold.

    Raises:
        StoreError: The file cannot be written.
    """
    with writing(path), atomic_file(path) as partial:
        partial.write_bytes(data)
    return Path(path)


def atomic_text(path: PathLike, text: str) -> None:
    r"""Writes a text file in UTF-8 with ``\n`` line ends, whole or not at all; an older file gives way.

    Args:
        path: The file; its folder must exist.
        text: What it shall hold.

    Raises:
        StoreError: The file cannot be written.
    """
    atomic_bytes(path, text.encode())


@contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turns an error of the file system into a refusal that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise StoreError(
            f"{os.fspath(path)}: cannot be written ({reason}). Check that its folder exists, is writable and has room."
        ) from error


def may_write(path: PathLike, *, replace: bool = False, marker: str = "config.toml") -> None:
    """Refuses a folder that could not be made at the end of a long run; makes the folders above it.

    Raises:
        StoreError: It exists and may not be replaced, or nothing can be written there.
    """
    target = Path(os.path.realpath(path))
    _may_take(target, replace, marker)
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
        probe.mkdir()
        probe.rmdir()


def _may_take(target: Path, replace: bool, marker: str) -> None:
    if not target.exists():
        return
    if not replace:
        raise StoreError(
            f"{target}: exists already. Choose another name, or let it be replaced (replace=True, --replace)."
        )
    ours = target.is_dir() and ((target / marker).is_file() or not any(target.iterdir()))
    if not ours:
        raise StoreError(f"{target}: exists and holds no {marker}, so it is not deleted. Choose another name.")


def _move(partial: Path, target: Path) -> None:
    """Renames `partial` to `target`; what stood there is deleted last, and put back if the renaming fails."""
    older = target.with_name(partial.name.removesuffix(".partial") + ".old")
    there = target.exists()
    if there:
        os.rename(target, older)
    try:
        os.rename(partial, target)
    except BaseException:
        if there:
            os.rename(older, target)
        raise
    if there:
        shutil.rmtree(older, ignore_errors=True)
