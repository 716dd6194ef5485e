"""Training that survives a kill: the state of a loop on disk, whole or not at all, and only for the job it belongs to."""

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
from largesse._files import MANIFEST, may_write
from largesse.errors import StoreError
from largesse.store import load, save

__all__ = ["Checkpointer", "checkpointer", "checkpoints_until_done", "digest"]

Arrays = dict[str, NDArray[Any]]
_KIND, _DIGITS = "training", 32


def digest(parts: Iterable[Any]) -> str:
    """Returns a checksum of arrays, tensors and plain values: what a training depends on."""
    seen = hashlib.blake2b(digest_size=16)
    for part in parts:
        array = part.numpy() if hasattr(part, "numpy") else part  # a tensor: torch itself need not be loaded
        if isinstance(array, np.ndarray):
            seen.update(f"{array.dtype}{array.shape}".encode())
            seen.update(np.ascontiguousarray(array).view(np.uint8).data)
        else:
            seen.update(repr(array).encode())
        seen.update(b"|")
    return seen.hexdigest()


def checkpointer(root: str | None, *parts: Any) -> Checkpointer | None:
    """Returns what keeps one training under a root folder, in a folder named after what it depends on; None without a root.

    Raises:
        StoreError: Nothing can be written there.
    """
    if root is None:
        return None
    job = digest((__version__, *parts))
    may_write(Path(root) / job, replace=True, marker=MANIFEST)
    return Checkpointer(Path(root) / job, job)


@contextmanager
def checkpoints_until_done(root: str | Path | None) -> Iterator[None]:
    """Refuses a root folder that cannot be written before any work; once the work is done, removes the trainings there.

    A failure or a kill leaves them. The folder goes too if it held nothing else; what cannot go stays.

    Raises:
        StoreError: Nothing can be written there.
    """
    if root is None:
        yield
        return
    place = Path(root)
    may_write(place / ("0" * _DIGITS), marker=MANIFEST)
    yield
    for folder in place.glob("*") if place.is_dir() else ():
        if len(folder.name) == _DIGITS and (folder / MANIFEST).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # it holds something else, or is gone
        place.rmdir()


@dataclass
class Checkpointer:
    """Keeps the state of one training loop in a folder.

    Attributes:
        folder: Where; made on the first `keep`, replaced whole by each further one.
        job: Checksum of what the training depends on: another job's state is not taken over.
        every: Seconds between two states.
    """

    folder: Path
    job: str
    every: float = 20.0
    _last: float = field(default_factory=time.monotonic)

    def found(self) -> Arrays | None:
        """Returns the arrays of the last state of this job, or None."""
        if not self.folder.exists():
            return None
        try:
            saved = load(self.folder)
        except StoreError:  # damaged or of a newer version: the training starts anew and replaces it
            return None
        return saved.arrays if saved.kind == _KIND and saved.settings.get("job") == self.job else None

    def keep(self, state: Callable[[], Arrays], *, now: bool = False) -> None:
        """Writes what `state` returns if it is time to."""
        if now or time.monotonic() - self._last >= self.every:
            save(self.folder, _KIND, {"job": self.job}, state(), replace=True)
            self._last = time.monotonic()
