"""The finished trials of a search on disk, so that a killed search goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import store
from largesse._files import atomic_text, locked
from largesse.errors import DataError, StoreError
from largesse.result import plain

__all__ = ["KeptTrials", "Scored"]

_KIND, _JOB = "trial", "job.json"


class Scored(NamedTuple):
    """The score of one trial.

    Attributes:
        value: Value per unit at each budget, (B,).
        draws: The same in each bootstrap draw, (D, B).
        seconds: Time of fitting and scoring.
    """

    value: NDArray[np.float64]
    draws: NDArray[np.float64]
    seconds: float


class KeptTrials:
    """The scores of one search in a hidden folder beside its output; nothing is kept without a folder.

    Attributes:
        folder: Its path, or None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    @property
    def count(self) -> int:
        """Number of trials kept."""
        return 0 if self.folder is None else sum(1 for _ in self.folder.glob("trial-*"))

    def get(self, number: int, model: str, settings: Mapping[str, Any]) -> Scored | None:
        """Returns the kept score of a trial; None if there is none, or it is damaged, or one of other settings."""
        place = self._place(number)
        if place is None or not place.exists():
            return None
        try:
            kind, kept, arrays = store.load(place)
            same = kind == _KIND and (kept["model"], kept["settings"]) == (model, plain(settings))
            return Scored(arrays["value"], arrays["draws"], float(kept["seconds"])) if same else None
        except (StoreError, KeyError, TypeError, ValueError):
            return None

    def put(self, number: int, model: str, settings: Mapping[str, Any], scored: Scored) -> None:
        """Keeps the score of a trial. A full disk does not end the search: a kill would then cost this trial."""
        place = self._place(number)
        if place is None:
            return
        about = {"model": model, "settings": plain(settings), "seconds": scored.seconds}
        with suppress(StoreError):
            store.save(place, _KIND, about, {"value": scored.value, "draws": scored.draws}, replace=True)

    def _place(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"trial-{number:05d}"

    @classmethod
    @contextmanager
    def beside(cls, output: Path, job: str) -> Iterator[KeptTrials]:
        """Yields the trials of a search that writes `output`: those of a killed search of the same job, or none yet.

        They are deleted when the search is done, refused or interrupted from the keyboard, and stay when it is killed or the disk
        is full. Where another process searches for the same output, or nothing can be written, nothing is kept.

        Args:
            output: The folder that the search writes.
            job: Digest of everything that the scores depend on.

        Raises:
            StoreError: The folder exists and was not made by largesse.
        """
        folder = output.parent / f".{output.name}.trials"
        if folder.exists() and any(folder.iterdir()) and not (folder / _JOB).is_file():
            raise StoreError(
                f"{folder}: is in the way, and was not made by largesse. Move it, or choose another output."
            )
        with ExitStack() as stack:
            if not _prepared(folder, job, stack):
                yield cls()
                return
            try:
                yield cls(folder)
            except (DataError, KeyboardInterrupt):
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)


def _prepared(folder: Path, job: str, stack: ExitStack) -> bool:
    """Makes the folder, locks it, and empties it of another job; returns whether that was possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not stack.enter_context(locked(folder)):
            return False
        if _job_of(folder) != job:
            for old in folder.iterdir():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            atomic_text(folder / _JOB, json.dumps({"job": job}))
        return True
    except (OSError, StoreError):
        return False


def _job_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _JOB).read_bytes())["job"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
