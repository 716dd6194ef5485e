"""Atomic writing of files and folders.

Each is written under a temporary name in the same folder and renamed when complete, so a reader sees the old version, the new
version or none, never a partial one.
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
    "MANIFEST", "PathLike", "atomic_bytes", "atomic_file", "atomic_folder", "atomic_text", "may_write", "writing",
]  # fmt: skip

MANIFEST = "manifest.json"
PathLike = str | os.PathLike[str]


@contextmanager
def atomic_folder(path: PathLike, *, replace: bool = False, marker: str = MANIFEST) -> Iterator[Path]:
    """Yields an empty folder, renamed to `path` on success and removed on any failure or interrupt.

    Args:
        path: Final path of the folder; missing parent folders are created.
        replace: Whether to replace an existing folder once the new one is complete.
        marker: Name of a file that only our folders contain: an existing folder without it is never replaced, unless empty.

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
    """Yields the path of a temporary file, renamed to `path` on success and removed on any failure.

    Args:
        path: Final path of the file; its folder must exist. An existing file is replaced.

    Raises:
        OSError: The file cannot be renamed to `path`.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


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


def may_write(path: PathLike, *, replace: bool = False, marker: str = "config.toml") -> None:
    """Checks, before a long run, that a folder can be created at its end; creates missing parent folders.

    Raises:
        StoreError: The folder exists and may not be replaced, or its parent is not writable.
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
        raise StoreError(f"{target}: exists already. Choose another name, or replace it (replace=True, --replace).")
    ours = target.is_dir() and ((target / marker).is_file() or not any(target.iterdir()))
    if not ours:
        raise StoreError(f"{target}: exists and holds no {marker}, so it is not replaced. Choose another name.")


def _move(partial: Path, target: Path) -> None:
    """Renames `partial` to `target`; an existing target is deleted afterwards, and restored if the renaming fails."""
    older = target.with_name(partial.name.removesuffix(".partial") + ".old")
    exists = target.exists()
    if exists:
        os.rename(target, older)
    try:
        os.rename(partial, target)
    except BaseException:
        if exists:
            os.rename(older, target)
        raise
    if exists:
        shutil.rmtree(older, ignore_errors=True)
