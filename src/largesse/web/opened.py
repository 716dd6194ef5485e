"""What a studio has open: runs, the units to be decided, the ledger of a campaign, experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from largesse import _check
from largesse.commands.run_folder import config_of, open_run, open_unread
from largesse.commands.studio.data import Beside, drift_of
from largesse.commands.studio.evidence import Evidence
from largesse.commands.studio.population import Population
from largesse.errors import LargesseError, StoreError
from largesse.frames.encoder import Encoder
from largesse.policy.deployed import Policy
from largesse.progress import Say, silent
from largesse.serving.watch.features import Spread, read_spreads

if TYPE_CHECKING:
    from largesse.commands.studio.live import InService

__all__ = ["Opened", "Studio"]


class Opened:
    """A run folder: its parts are read when they are needed first.

    Args:
        folder: The run folder.
        name: Its name on the pages.
        users: The units that it is to decide; None: there are none.
        unit: Column of their ids; None: that of the run.
    """

    def __init__(self, folder: Path, name: str, users: Path | None, unit: str | None) -> None:
        self.folder, self.name, self._users, self._unit = folder, name, users, unit
        self.config = config_of(folder)
        self.lock = RLock()

    @cached_property
    def policy(self) -> Policy:
        """Its policy, with its model; what only looks units up needs none."""
        return open_run(self.folder)[1]

    @cached_property
    def encoder(self) -> Encoder | None:
        """How its columns become features."""
        return open_unread(self.folder)[1].encoder

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of metrics.json.

        Raises:
            StoreError: It is missing or damaged.
        """
        place = self.folder / "metrics.json"
        try:
            content: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{place}: the run is incomplete ({error!r}). Fit it again.") from error
        return content

    @cached_property
    def evidence(self) -> Evidence | None:
        """What its held-out rows say; None where the run keeps none, as those of earlier versions."""
        return Evidence.of_run(self.folder, self.config)

    @cached_property
    def population(self) -> Population | None:
        """The units that it is to decide; None: there are none."""
        return None if self._users is None else self.open_units(silent)

    @cached_property
    def spreads(self) -> tuple[Spread, ...]:
        """How the features are spread in its trial; () where the run does not keep that, as those of earlier versions.

        Raises:
            StoreError: The file is damaged.
        """
        return read_spreads(self.folder)

    @cached_property
    def drift(self) -> tuple[Beside, ...]:
        """The features of the units beside the trial; () where there are no units."""
        return () if self.population is None else drift_of(self.population.table, self.spreads)

    def open_units(self, say: Say) -> Population:
        """Reads and scores the units."""
        assert self._users is not None
        return Population.open(self.folder, self._users, unit=self._unit, say=say)


class Studio:
    """All that a studio has open.

    Args:
        runs: The run folders, at least one.
        users: Units that the runs are to decide; None: there are none.
        unit: Column of their ids; None: that of each run.
        store: Address of the ledger of a campaign in service; None: there is none.
        campaign: Name of the campaign; None: the only one.
        experiments: Folders that `largesse experiment` wrote.
        clock: Returns the time, in seconds since 1970; None: that of the machine.

    Raises:
        LargesseError: A folder is no run.
    """

    def __init__(
        self, runs: Sequence[Path], *, users: Path | None = None, unit: str | None = None, store: str | None = None,
        campaign: str | None = None, experiments: Sequence[Path] = (), clock: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        if not runs:
            raise _check.refuse(
                "RUN", list(runs), "at least one run is needed", "Give a folder made by `largesse fit`."
            )
        names = _names(runs)
        self.runs = {name: Opened(folder, name, users, unit) for name, folder in zip(names, runs, strict=True)}
        self.users, self.store, self.campaign, self.experiments, self.clock = (
            users,
            store,
            campaign,
            tuple(experiments),
            clock,
        )

    @cached_property
    def live(self) -> InService:
        """The ledger of the campaign in service.

        Raises:
            DataError: The studio was opened without one.
        """
        from largesse.commands.studio.live import InService  # it needs the packages of the service

        if self.store is None:
            raise _check.refuse("--store", None, "is missing", "Start the studio with the address of the ledger.")
        return InService(self.store, self.campaign, self.clock)

    @property
    def first(self) -> Opened:
        """The run that is shown first."""
        return next(iter(self.runs.values()))

    def prepare(self, say: Say = silent) -> None:
        """Reads what the first pages need, so that they come at once.

        Raises:
            LargesseError: The units cannot be read.
        """
        for run in self.runs.values():
            if self.users is not None:
                run.__dict__["population"] = run.open_units(say)
            try:
                evidence = run.evidence
            except LargesseError:
                continue  # its pages say so
            if evidence is not None:
                evidence.line()


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns a name for each folder: its own, with as many of its parents as tell it from the others."""
    whole = [folder.resolve() for folder in folders]
    if len(set(whole)) < len(whole):
        raise _check.refuse("RUN", str(folders[0]), "the same run is named twice", "Name each run once.")
    depth = 1
    while True:
        names = ["/".join(folder.parts[-depth:]) for folder in whole]
        if len(set(names)) == len(names):
            return names
        depth += 1
