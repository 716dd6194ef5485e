"""Arrays of many units on disk, block by block, while a plan is computed: an interrupted run continues after the last block."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from largesse import _check
from largesse._files import atomic_file, atomic_text, locked
from largesse.allocate.blocks import Block
from largesse.errors import DataError, LargesseError, StoreError

__all__ = ["SpillFolder", "synced"]

Partial = TypeVar("Partial")
_JOB, _MARK = "job.json", b"largesse"
_HEADER = Lock()  # NumPy parses a header with `ast`, which is not safe in several threads before Python 3.12


class SpillFolder:
    """A folder beside the output that holds the blocks of one job.

    Attributes:
        folder: Its path.
        size: Number of units in a block.
        done: Number of blocks stored.
        n_threads: Threads that work on blocks; the results are the same for any number.
    """

    def __init__(self, folder: Path, size: int, n_threads: int) -> None:
        self.folder, self.size, self.n_threads = folder, size, _check.threads(n_threads)
        self.done = 0
        while self._whole(self.done):
            self.done += 1

    def _whole(self, k: int) -> bool:
        """Returns whether block k is stored as it was written; a damaged one is computed again, and those after it."""
        kinds = ("block", "ids") if self._file("ids", 0).exists() else ("block",)
        return all(_is_whole(self._file(kind, k)) for kind in kinds)

    def put(self, table: NDArray[Any], ids: NDArray[np.uint64] | None) -> None:
        """Stores the next block: an array (..., N), and a number for each unit's id, (N,), or None where units are numbered."""
        if ids is not None:
            _write(self._file("ids", self.done), ids)
        _write(self._file("block", self.done), table)
        self.done += 1

    def table(self, k: int) -> NDArray[Any]:
        """Returns the array stored as block k, as a memory map."""
        with _HEADER:
            return np.asarray(np.load(self._file("block", k), mmap_mode="r"))

    def block(self, k: int) -> Block:
        """Returns block k, whose array holds values and costs."""
        value, cost = self.table(k)
        return Block(k * self.size, value, cost)

    def ids(self, n: int) -> NDArray[np.uint64]:
        """Returns the numbers of all ids, (n,)."""
        out = np.empty(n, np.uint64)
        for k in range(self.done):
            out[k * self.size : (k + 1) * self.size] = np.load(self._file("ids", k))
        return out

    def __call__(self, task: Callable[[Block], Partial]) -> list[Partial]:
        """Applies a task to every block and returns the results in order."""
        with ThreadPoolExecutor(self.n_threads) as pool:
            return list(pool.map(lambda k: task(self.block(k)), range(self.done)))

    def _file(self, kind: str, k: int) -> Path:
        return self.folder / f"{kind}-{k:06d}.npy"

    @classmethod
    @contextmanager
    def beside(cls, output: Path, job: dict[str, Any], size: int, n_threads: int) -> Iterator[SpillFolder]:
        """Yields the folder of a job that writes `output`: that of an interrupted run of the same job, or an empty one.

        The folder is deleted when the job is done or its data are refused; it stays if the job is interrupted or the disk full.

        Raises:
            StoreError: The folder exists and was not made by largesse, or another process writes the same output.
            DataError: The folder or a file in it cannot be written.
        """
        folder = output.parent / f".{output.name}.partial"
        text = json.dumps(job)
        with _ours(folder, output), locked(folder) as alone:
            if not alone:
                rest = "another process is writing it. Wait for it, or choose another name."
                raise StoreError(f"{output}: {rest}")
            if not (folder / _JOB).is_file() or (folder / _JOB).read_text(encoding="utf-8") != text:
                for old in folder.iterdir():
                    old.unlink()
                atomic_text(folder / _JOB, text)
            try:
                yield cls(folder, size, n_threads)
            except LargesseError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ours(folder: Path, output: Path) -> Iterator[None]:
    """Makes the folder, unless other files lie there, and turns errors of the file system into a `DataError`."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _JOB).is_file():
        raise StoreError(f"{folder}: is in the way, and was not made by largesse. Move it, or choose another output.")
    try:
        folder.mkdir(exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"{output}: cannot be written ({error.strerror or error}). Create the folder, check that it is writable and "
            f"has room; the same command then goes on where it stopped ({folder} holds what is done).", field=str(output),
        ) from error  # fmt: skip


def _write(path: Path, array: NDArray[Any]) -> None:
    with atomic_file(path) as partial:
        with open(partial, "wb") as file:
            np.save(file, array, allow_pickle=False)
        checksum = _checksum(partial, os.path.getsize(partial))
        with open(partial, "ab") as file:
            file.write(_MARK + checksum.to_bytes(4, "big"))  # NumPy reads no further than its array
            file.flush()
            os.fsync(file.fileno())


def synced(path: Path) -> None:
    """Waits until a file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_whole(path: Path) -> bool:
    try:
        size = path.stat().st_size - len(_MARK) - 4
        with open(path, "rb") as file:
            file.seek(max(size, 0))
            end = file.read()
        return size > 0 and end == _MARK + _checksum(path, size).to_bytes(4, "big")
    except OSError:
        return False


def _checksum(path: Path, size: int) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while size > 0 and (part := file.read(min(size, 1 << 22))):
            checksum, size = zlib.crc32(part, checksum), size - len(part)
    return checksum
