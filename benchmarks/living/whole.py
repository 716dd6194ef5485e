"""The loop: holdout and exploration, a monitor, challengers from what came back, and a gate, by the parts of the package.

Every day it looks at what has become known. Every few days, or after an alarm, it learns two challengers, one from all rows and
one from the latest, and tries the one with the better likelihood on two later days; the gate of `largesse promote` promotes or
ends it; an alarm about a challenger's predictions ends it too. A treatment whose value is below its prediction in an alarm is
given no longer until another run decides, and a column that drifts is left out of what is learned next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.living.deciders import Came, Codes, Floats, fitted, menu_of
from benchmarks.living.money import Given, Till
from benchmarks.living.scene import AMOUNTS, Day, Scene
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.models.outcome import Outcome
from largesse.serving.draws import Draws
from largesse.serving.increments import best_treatments
from largesse.serving.watch.cells import Cells, Design
from largesse.serving.watch.features import Spread, stability
from largesse.serving.watch.gate import Gate
from largesse.serving.watch.reading import DAY, Decisions

__all__ = ["EVERY", "EXPLORE", "HOLDOUT", "MARGIN", "Event", "Loop"]

HOLDOUT, EXPLORE = 0.02, 0.1
SHARE, MARGIN, LOSS = 0.5, 0.02, 0.03
_RECENT = 14  # days
_JUDGED = 2  # days on which two candidates are compared
_NAMES = tuple(f"{a:g}" for a in AMOUNTS)
_M = len(AMOUNTS)
EVERY = 5  # days between two challengers
_FEWEST = 4  # days of rows of which something is learned


class Event(NamedTuple):
    """Something that the loop did or noticed.

    Attributes:
        day: When.
        what: "promoted", "ended", "tried", "alarm", "dropped", "left out".
        about: The treatment, the column or the run.
    """

    day: int
    what: str
    about: str


class _Tried(NamedTuple):
    """A run that is tried: its number, its model, the columns that it does not read."""

    number: int
    model: Model
    without: tuple[int, ...]

    def menu(self, x: Any) -> tuple[Floats, Floats]:
        return menu_of(self.model, blanked(x, self.without))


def blanked(x: Any, columns: tuple[int, ...]) -> Any:
    """Returns features with some columns 0."""
    if not columns:
        return x
    x = x.copy()
    x[:, list(columns)] = 0.0
    return x


class _Row(NamedTuple):
    """A day that was decided, as the ledger would have it."""

    part: Decisions
    champion: Codes
    challenger: Codes
    tried: int  # number of the challenger; 0: none
    share: float


class Loop:
    """Decides, watches, learns and promotes.

    Args:
        scene: The campaign.
        trial: The trial before it.
        seed: Of the draws.
    """

    def __init__(self, scene: Scene, trial: Logs, seed: int) -> None:
        self.scene, self.trial, self.seed, self.outcome = scene, trial, seed, Outcome.infer(trial)
        self.champion = _Tried(1, fitted(trial.x, trial.treatment, trial.value, self.outcome, seed), ())
        self.challenger: _Tried | None = None
        self.share, self.number, self.gate = 0.0, 1, self._gate()
        self.versions = ["run 1"]
        self.cells = Cells(self._design(), self.versions)
        self.dropped: set[int] = set()
        self.without: tuple[int, ...] = ()
        self.rows: list[_Row] = []
        self.known: list[Came] = []
        self.events: list[Event] = []
        self.seen: set[tuple[str, str]] = set()
        self.hurry = False
        self.spreads = [_spread(f"x{k}", column) for k, column in enumerate(trial.x.T)]

    def _design(self) -> Design:
        s = self.scene
        return Design(_NAMES, (1.0,) * _M, HOLDOUT, EXPLORE, s.days, float(s.days * s.per_day), 0.25, None)

    def _gate(self) -> Gate:
        expected = float(EVERY * self.scene.per_day)
        return Gate((1.0,) * _M, (1 - HOLDOUT) * EXPLORE, expected, decided=(1 - HOLDOUT) * (1 - EXPLORE))

    # ---- what has become known

    def learn(self, day: int, known: Came | None) -> None:
        """Takes what has become known before a day, and does what follows from it."""
        if known is not None:
            self.known.append(known)
            row = self.rows[known.day.number]
            part = row.part._replace(gained=known.order, paid=known.paid, reported=known.order > 0)
            self.rows[known.day.number] = row._replace(part=part)
            self._watch(day, known.day.number, part)
            self._judge(day, row._replace(part=part))
        if len(self.known) > _FEWEST and (day % EVERY == 0 or self.hurry):
            self.hurry = False
            self._try(day)

    def _watch(self, day: int, of: int, part: Decisions) -> None:
        self.cells.add(of, part, np.inf)
        for one in self.cells.signals(str):
            if one.state != "alarm" or (one.name, one.about) in self.seen:
                continue
            self.seen.add((one.name, one.about))
            self._note(day, "alarm", f"{one.name}: {one.about}")
            treatment, _, version = one.about.partition(" (")
            if self.challenger is not None and version.rstrip(")") == self.versions[self.challenger.number - 1]:
                self._end(day)  # as `largesse promote` does: a plan on wrong predictions is wrong
                continue
            if one.name != "value against prediction":
                continue
            if version and version.rstrip(")") != self.versions[self.champion.number - 1]:
                continue  # of a run that decides no longer
            self.hurry = True
            j = _NAMES.index(treatment)
            if j and one.high is not None and one.high < 1 and j not in self.dropped:
                self.dropped.add(j)
                self._note(day, "dropped", treatment)

    def _judge(self, day: int, row: _Row) -> None:
        if self.challenger is None or row.tried != self.challenger.number:
            return
        self.gate.add(row.part.where(~row.part.limited), *_both(row), row.share)
        got = self.gate.look(margin=MARGIN, loss=LOSS)
        if got.verdict == "better":
            self._promote(day)
        elif got.verdict == "worse":
            self._end(day)
        else:
            self.share = max(self.share, min(0.5, got.most))

    def _promote(self, day: int) -> None:
        assert self.challenger is not None
        self.champion, self.challenger, self.share = self.challenger, None, 0.0
        self.dropped = set()
        self._note(day, "promoted", f"run {self.champion.number}")

    def _end(self, day: int) -> None:
        assert self.challenger is not None
        self._note(day, "ended", f"run {self.challenger.number}")
        self.challenger, self.share = None, 0.0

    def _try(self, day: int) -> None:
        """Learns two challengers, and tries the one that explains two later days better."""
        train, judge = self.known[:-_JUDGED], self.known[-_JUDGED:]
        recent = train[-_RECENT:]
        trial = (self.trial.x, self.trial.treatment.astype(np.intp), self.trial.value, np.ones(self.trial.n, np.bool_))
        candidates = [self._fitted([trial], train)]
        if len(recent) < len(train) or self.without:
            candidates.append(self._fitted([], recent))
        self.number += 1
        best = min(candidates, key=lambda model: self._loss(model, judge))
        self.challenger = _Tried(self.number, best, self.without)
        self.versions.append(f"run {self.number}")
        self.share, self.gate = SHARE, self._gate()
        self._note(day, "tried", f"run {self.number}")
        if self.without and self.champion.without != self.without:
            self._promote(day)  # the champion reads a column that is broken: no test is needed

    def _fitted(self, trial: list[Any], days: list[Came]) -> Model:
        rows = trial + [(one.day.x, one.given.code, one.order, self.rows[one.day.number].part.kind > 0) for one in days]
        x, code, order, random = (np.concatenate(part) for part in zip(*rows, strict=True))
        return fitted(blanked(x, self.without), code, order, self.outcome, self.seed, random)

    def _loss(self, model: Model, days: list[Came]) -> float:
        total = 0.0
        for one in days:
            value = menu_of(model, blanked(one.day.x, self.without))[0]
            p = np.clip(value[np.arange(len(value)), one.given.code], 1e-4, 1 - 1e-4)
            total -= float(np.where(one.order > 0, np.log(p), np.log(1 - p)).sum())
        return total

    # ---- a day

    def decide(self, day: Day, till: Till) -> Given:
        """Returns what the units of a day get."""
        self._drift(day)
        draws = Draws("loop", "loop", mix=(1.0,) * _M, holdout=HOLDOUT, explore=EXPLORE)
        n, rng = len(day.x), np.random.default_rng([self.seed, day.number, 4])
        runs = [self.champion] + ([] if self.challenger is None else [self.challenger])
        menus = [self._menu(run, day.x) for run in runs]
        mine = rng.random(n) < self.share
        value, cost = (np.where(mine[:, None], b, a) for a, b in zip(menus[0], menus[-1], strict=True))
        units = [f"{self.seed}-{day.number}-{i}" for i in range(n)]
        kinds, p = np.zeros(n, np.intp), np.zeros((n, _M))

        def draw(rows: slice, price: float) -> Codes:
            got = draws.draw_many(0, units[rows], value[rows], cost[rows], price)
            kinds[rows], p[rows] = got.kinds, got.propensities
            return got.codes

        share = HOLDOUT + (1 - HOLDOUT) * EXPLORE
        mix = np.full(_M, (1 - HOLDOUT) * EXPLORE / _M / share)
        mix[0] += HOLDOUT / share
        given = till.day(value, cost, draw, (share, mix))
        at = [best_treatments(v, c, given.price) for v, c in menus]
        zeros, time = np.zeros(n), day.number * DAY + np.linspace(0, DAY - 1, n)
        version = np.where(mine, runs[-1].number - 1, runs[0].number - 1)
        part = Decisions(
            time, time, given.code, kinds, version, np.zeros(n, np.bool_), given.limited, np.ones(n, np.bool_), given.price,
            zeros, zeros, p, value, cost, np.zeros(n, np.int64),
        )  # fmt: skip
        tried = 0 if self.challenger is None else self.challenger.number
        self.rows.append(_Row(part, at[0], at[-1], tried, self.share))
        return given

    def _menu(self, run: _Tried, x: Any) -> tuple[Floats, Floats]:
        value, cost = run.menu(x)
        if run.number == self.champion.number:
            for j in self.dropped:  # explored all the same
                value[:, j] = np.minimum(value[:, j], value[:, 0])
        return value, cost

    def _drift(self, day: Day) -> None:
        alpha = 0.01 / (len(self.spreads) * self.scene.days)
        for k, spread in enumerate(self.spreads):
            if k in self.without:
                continue
            if (now := stability(spread, spread.counts(day.x[:, k]), alpha)).psi > now.threshold:
                self.without = (*self.without, k)
                self._note(day.number, "left out", spread.name)
                self.hurry = True

    def _note(self, day: int, what: str, about: str) -> None:
        self.events.append(Event(day, what, about))


def _both(row: _Row) -> tuple[Codes, Codes]:
    use = ~row.part.limited
    return row.champion[use], row.challenger[use]


def _spread(name: str, column: Any) -> Spread:
    """Returns how a column of the trial is spread: ten bins of equal size."""
    cells = np.asarray(column, np.float64)
    edges = tuple(np.unique(np.quantile(cells, np.arange(1, 10) / 10)).tolist())
    spread = Spread(name, False, edges, (), (0.0,) * (len(edges) + 2), len(cells))
    return spread._replace(shares=tuple((spread.counts(cells) / len(cells)).tolist()))
