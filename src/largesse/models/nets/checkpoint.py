"""Checkpoints of training loops: a killed training resumes from its last state, which is written in full or not at all."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import __version__
from largesse._files import MANIFEST, may_write, real
from largesse.errors import StoreError
from largesse.store import load, save

__all__ = ["Checkpointer", "checkpointer", "checkpoints_until_done", "digest"]

Arrays = dict[str, NDArray[Any]]
_KIND, _DIGITS = "training", 32
_INTERVAL = 20.0  # seconds between two states


def digest(parts: Iterable[Any]) -> str:
    """Returns a checksum of everything that a training depends on: arrays, tensors and plain values."""
    checksum = hashlib.blake2b(digest_size=16)
    for part in parts:
        array = part.numpy() if hasattr(part, "numpy") else part  # a tensor, without importing torch here
        if isinstance(array, np.ndarray):
            checksum.update(f"{array.dtype}{array.shape}".encode())
            checksum.update(np.ascontiguousarray(array).view(np.uint8).data)
        else:
            checksum.update(repr(array).encode())
        checksum.update(b"|")
    return checksum.hexdigest()


def checkpointer(root: str | None, *parts: Any) -> Checkpointer | None:
    """Returns the checkpointer of one training, in a subfolder of `root` named by the digest of `parts`; None without a root.

    Raises:
        StoreError: The folder cannot be written.
    """
    if root is None:
        return None
    job = digest((__version__, *parts))
    may_write(Path(root) / job, replace=True, marker=MANIFEST)
    return Checkpointer(Path(root) / job, job)


@contextmanager
def checkpoints_until_done(root: str | Path | None, output: Path | None = None) -> Iterator[None]:
    """Keeps checkpoints under a root folder while the work inside runs, and removes them once it has succeeded.

    After a failure or a kill they stay. The root folder is removed too if it is then empty.

    Raises:
        StoreError: The folder cannot be written, or is the `output` of the work or lies in it; raised before the work starts.
    """
    if root is None:
        yield
        return
    place = Path(root)
    if output is not None and real(output) in (real(place), *real(place).parents):
        raise StoreError(f"{place}: lies in {output}, which is made at the end. Choose another run.checkpoints.")
    may_write(place / ("0" * _DIGITS), marker=MANIFEST)
    yield
    for folder in place.glob("*") if place.is_dir() else ():
        if len(folder.name) == _DIGITS and (folder / MANIFEST).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # not empty, or already removed
        place.rmdir()


@dataclass
class Checkpointer:
    """Saves the state of one training loop in a folder, at most every 20 seconds.

    Attributes:
        folder: Where; created by the first `keep`, replaced as a whole by each further one.
        job: Digest of everything the training depends on: the state of another job is ignored.
    """

    folder: Path
    job: str
    _last: float = field(default_factory=time.monotonic)

    def latest(self) -> Arrays | None:
        """Returns the arrays of the last saved state of this job, or None."""
        if not self.folder.exists():
            return None
        try:
            saved = load(self.folder)
        except StoreError:  # damaged, or written by a newer version: the training starts again and replaces it
            return None
        return saved.arrays if saved.kind == _KIND and saved.settings.get("job") == self.job else None

    def keep(self, state: Callable[[], Arrays], *, now: bool = False) -> None:
        """Saves the arrays returned by `state` if the last save is 20 seconds ago, or at once with `now`."""
        if now or time.monotonic() - self._last >= _INTERVAL:
            save(self.folder, _KIND, {"job": self.job}, state(), replace=True)
            self._last = time.monotonic()
