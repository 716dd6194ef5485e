"""Signals with intervals that hold on all days together: lift, policy against exploration, calibration, assignment, holdout.

Where nothing is wrong, with probability 1 - `ALPHA` none of them is an alarm on any day of the campaign, however often one looks:
their probabilities of error add up to that. What comes back counts once the outcome window of its decision has ended. A
change that comes late hardly moves a mean over the whole campaign: such signals are also computed anew every week, with a part
of the same probability.

In a campaign with periods a unit has several decisions, which are alike: these signals begin anew with each period, in which
every unit is decided once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from largesse.evaluate.sequences.difference import DifferenceSequence
from largesse.evaluate.sequences.lift import LiftSequence
from largesse.evaluate.sequences.look import Look
from largesse.evaluate.sequences.mean import MeanSequence
from largesse.serving.draws import KINDS, Draws
from largesse.serving.increments import best_treatments
from largesse.serving.watch.reading import Decisions
from largesse.serving.watch.signals import Group, Signal

__all__ = ["ALPHA", "NET_LIFT", "VALUE_LIFT", "Cells", "Design"]

ALPHA = 0.05
"""Probability of a false alarm in a whole campaign, all signals and days together."""
VALUE_LIFT, NET_LIFT = "value per unit, beyond the holdout", "net value per unit, beyond the holdout"
"""Names of the signals of what the campaign brings."""
SHARE = ALPHA / 5
"""Of each group: lift, policy against exploration, calibration, assignment, features."""
_WEEK = 7  # days
_HOLDOUT = KINDS.index("holdout")
_PAID_IN_HOLDOUT = 0.005
_EVENTS = (
    20  # effective number below which no signal is an alarm: of 300 campaigns with log-normal orders (σ = 2) 1 had one
)
_NEVER = 1e-9  # probability that no signal needs to go below


@dataclass(frozen=True, slots=True)
class Design:
    """What is known of a campaign before its log is read.

    Attributes:
        treatments: Names of the M treatments, control first.
        mix: Weight of each treatment in exploration, (M,).
        holdout: Share of the units in the holdout.
        explore: Share of the other units that explore.
        days: Days from the start to the end.
        expected: Decisions expected until the end.
        tolerance: How far value and cost may be from their prediction, as a share of it.
        value_per_unit: What one unit of value brings in money; None: not known.
        draws: How units are drawn, where those that explore have weights of their own; None: by the mix.
    """

    treatments: tuple[str, ...]
    mix: tuple[float, ...]
    holdout: float
    explore: float
    days: int
    expected: float
    tolerance: float
    value_per_unit: float | None
    draws: Draws | None = None


class _Kind(NamedTuple):
    """One signal before it has rows.

    Attributes:
        group: As in `Signal`.
        name: What is watched.
        about: The treatment; "" for all.
        make: Returns an empty sequence of an expected size and level.
        feed: Adds decisions to a sequence.
        bad: Whether an interval is an alarm.
        threshold: When it is one, in words.
        next_step: What to do then.
        share: Its part of the probability of a false alarm.
        of: Its part of the expected decisions.
        judged: Whether it counts decisions whose outcome window has ended only.
        weekly: Whether it is also computed anew every week.
    """

    group: Group
    name: str
    about: str
    make: Callable[..., Any]
    feed: Callable[[Any, Decisions], None]
    bad: Callable[[Look], bool]
    threshold: str
    next_step: str
    share: float
    of: float = 1.0
    judged: bool = True
    weekly: bool = False


class _Cell:
    """A signal and its rows so far; after an alarm it shows the last interval that was one."""

    def __init__(self, kind: _Kind, design: Design, share: float) -> None:
        self.kind, self.expected, self.weeks = kind, max(1.0, design.expected * kind.of), -(-design.days // _WEEK)
        self.alpha = max(_NEVER, share * (0.5 if kind.weekly else 1.0))
        self.sequence = self._made(self.expected, self.alpha)
        self.week, self.recent = 0, self._anew() if kind.weekly else None
        self.shown: Look = self.sequence.look()
        self.first: int | None = None
        self.days: dict[int, Look] = {}

    def _made(self, expected: float, alpha: float) -> Any:
        return self.kind.make(expected, level=1 - alpha)

    def _anew(self) -> Any:
        return self._made(max(1.0, self.expected / self.weeks), max(_NEVER, self.alpha / self.weeks))

    def add(self, day: int, part: Decisions) -> None:
        if self.recent is not None:
            if day // _WEEK != self.week:
                self.week, self.recent = day // _WEEK, self._anew()
            self.kind.feed(self.recent, part)
        self.kind.feed(self.sequence, part)

    def look(self, day: int) -> None:
        whole: Look = self.sequence.look()
        self.days[day] = whole
        looks = [whole] if self.recent is None else [whole, self.recent.look()]
        known = [one for one in looks if one.events >= _EVENTS]
        if (bad := next(filter(self.kind.bad, known), None)) is not None:
            self.shown = bad
            self.first = day if self.first is None else self.first
        elif self.first is None:
            self.shown = whole

    def signal(self, about: str, date: Callable[[int], str]) -> Signal:
        look, kind = self.shown, self.kind
        known = look.events >= _EVENTS
        bad = self.first is not None
        return Signal(
            kind.group, kind.name, about, "alarm" if bad else "fine" if known else "too early", _number(look.estimate),
            _number(look.lower), _number(look.upper), kind.threshold, None if self.first is None else date(self.first), look.t,
            kind.next_step if bad else "",
        )  # fmt: skip


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


class Cells:
    """All signals of this kind, and the decisions so far.

    Args:
        design: The campaign.
        versions: Names of the policies, to which reading the log adds.
    """

    def __init__(self, design: Design, versions: list[str]) -> None:
        self.design, self.versions = design, versions
        self.period, self.periods = 0, 0
        self.common: list[_Cell] = []
        self.by_version: dict[int, list[_Cell]] = {}
        self.ended: list[tuple[str, _Cell]] = []  # with an alarm, of a period or version that is over
        self.current: set[int] = set()

    def add(self, day: int, part: Decisions, now: float) -> None:
        """Adds the decisions of one day of one period, and looks.

        Args:
            day: Number of the day since the campaign began.
            part: Its decisions, at least one.
            now: The time, in seconds since 1970 (UTC).
        """
        if not self.common or part.period[0] != self.period:
            self._begin(int(part.period[0]))
        judged = part.where(part.due <= now)
        for cell in self.common:
            rows = judged if cell.kind.judged else part
            if len(rows.time):
                cell.add(day, rows)
            cell.look(day)
        sound = judged.where(judged.modelled & ~judged.limited)
        self.current = set(np.unique(part.version[part.modelled]).tolist()) or self.current
        for version in np.unique(sound.version).tolist():
            if version not in self.by_version:
                k = 1 + len(self.by_version)  # Σ 1 / (k (k+1)) = 1
                share = self._share() / (k * (k + 1))
                kinds = calibration(self.design)
                self.by_version[version] = [_Cell(kind, self.design, kind.share * share) for kind in kinds]
            mine = sound.where(sound.version == version)
            for cell in self.by_version[version]:
                cell.add(day, mine)
                cell.look(day)

    def _share(self) -> float:
        """Returns the part of the probability that the present period has: 1/2, 1/6, 1/12, …; all of it without periods."""
        return 1.0 if self.periods <= 1 and not self.period else 1 / (self.periods * (self.periods + 1))

    def _begin(self, period: int) -> None:
        self._retire()
        self.period, self.periods = period, self.periods + 1
        self.common = [_Cell(kind, self.design, kind.share * self._share()) for kind in common(self.design)]
        self.by_version = {}

    def _retire(self) -> None:
        for about, cell in self._named():
            if cell.first is not None:
                self.ended.append((about, cell))

    def _named(self) -> Iterator[tuple[str, _Cell]]:
        for cell in self.common:
            yield cell.kind.about, cell
        several = len(self.by_version) > 1
        for version, cells in sorted(self.by_version.items()):
            for cell in cells:
                if cell.first is not None or version in self.current:
                    name = f" ({self.versions[version]})" if several else ""
                    yield f"{cell.kind.about}{name}", cell

    def lift_by_day(self) -> dict[int, Look]:
        """Returns the interval of the lift at the end of each day of the present period: of the net value where it is known."""
        cells = {cell.kind.name: cell for cell in self.common if cell.kind.group == "result"}
        leading = cells.get(NET_LIFT, cells.get(VALUE_LIFT))
        return {} if leading is None else leading.days

    def signals(self, date: Callable[[int], str]) -> list[Signal]:
        """Returns all signals; `date` returns the date of a day's number."""
        # The cost of a treatment that is predicted to cost nothing has no ratio to its prediction.
        several = [(cell, cell.signal(about, date)) for about, cell in (*self.ended, *self._named())]
        gone = {id(cell) for version, cells in self.by_version.items() if version not in self.current for cell in cells}
        several = [
            (cell, one._replace(state="over", next_step="") if id(cell) in gone else one) for cell, one in several
        ]
        return [one for cell, one in several if one.number is not None or not (cell.kind.weekly and one.rests_on)]


def common(design: Design) -> list[_Kind]:
    """Returns the signals that do not depend on the version of the policy."""
    return [*_lift(design), *_exploration(design), *_assignment(design)]


def _lift(design: Design) -> Iterator[_Kind]:
    if not design.holdout:
        return
    money = design.value_per_unit
    several: list[tuple[str, Callable[[Decisions], Any]]] = [("value", lambda rows: rows.gained)]
    if money is not None:
        several.append(("net value", lambda rows: money * rows.gained - rows.paid))
    several.append(("money", lambda rows: rows.paid))
    step = "Stop the campaign or lower its budget: units with it bring less than those without."
    for name, score in several:

        def feed(sequence: Any, rows: Decisions, score: Callable[[Decisions], Any] = score) -> None:
            sequence.update(score(rows), rows.kind != _HOLDOUT, 1 - design.holdout)

        if name == "money":
            rule: tuple[Callable[[Look], bool], str, str] = (_never, "none: it is what the lift costs", "")
        else:
            rule = (_negative, "interval below 0", step)
        yield _Kind(
            "result", f"{name} per unit, beyond the holdout", "", LiftSequence, feed, *rule, SHARE / len(several)
        )


def _negative(look: Look) -> bool:
    return look.upper < 0


def _never(look: Look) -> bool:
    return False


def _exploration(design: Design) -> Iterator[_Kind]:
    if not design.explore:
        return
    mix = np.array(design.mix)

    def feed(sequence: Any, rows: Decisions) -> None:
        used = rows.where(rows.modelled & ~rows.limited)
        if not len(used.time):
            return
        at, p = np.arange(len(used.time)), used.propensities
        policy = best_treatments(used.value, np.where(p > 0, used.cost, np.inf), used.price)
        q = used.explored(mix, design.draws) / p[at, used.given]
        own = (policy == used.given) / p[at, used.given]
        net = used.gained - used.price * used.paid
        sequence.update(own * net, q * net, first_per=own, second_per=q, importance=np.abs(own - q), outcome=net)

    step = "Fit again on the decisions (largesse update): treatments at random do better than the policy."
    yield _Kind(
        "result", "net value, policy less exploration", "", DifferenceSequence, feed,
        _negative, "interval below 0", step, SHARE,
    )  # fmt: skip


def _assignment(design: Design) -> Iterator[_Kind]:
    share = SHARE / (len(design.treatments) + 2)
    step = (
        "Let nobody decide or write into the store but the server, and verify the log (largesse verify-log): until this is "
        "explained, estimates from the log are biased."
    )
    for j, name in enumerate(design.treatments):

        def given(sequence: Any, rows: Decisions, j: int = j) -> None:
            sequence.update((rows.given == j) - rows.propensities[:, j])

        yield _Kind(
            "trust", "share given less probability", name, MeanSequence, given, _not_zero, "interval without 0", step, share,
            judged=False,
        )  # fmt: skip
    if not design.holdout:
        return

    def in_holdout(sequence: Any, rows: Decisions) -> None:
        sequence.update((rows.kind == _HOLDOUT) - design.holdout)

    yield _Kind(
        "trust", "holdout share less probability", "", MeanSequence, in_holdout, _not_zero, "interval without 0", step,
        share, judged=False,
    )  # fmt: skip

    def reached(sequence: Any, rows: Decisions) -> None:
        used = rows.where((rows.kind == _HOLDOUT) & rows.modelled & (rows.cost[:, 0] == 0))
        if len(used.time):
            sequence.update((used.paid > 0) * 1.0)

    yield _Kind(
        "trust", "share of the holdout paid for", "", MeanSequence, reached, lambda look: look.lower > _PAID_IN_HOLDOUT,
        f"interval above {_PAID_IN_HOLDOUT:g}, where control costs nothing",
        "Find out who gives treatments to the holdout: the lift is too small while it is treated.", share, design.holdout,
    )  # fmt: skip


def _not_zero(look: Look) -> bool:
    return look.lower > 0 or look.upper < 0


def calibration(design: Design) -> list[_Kind]:
    """Returns the signals of one version of the policy: what each treatment brought and cost against its prediction."""
    m, t = len(design.treatments), design.tolerance
    out = []
    for j, name in enumerate(design.treatments):
        for what, of, by in (("value", "gained", "value"), ("cost", "paid", "cost")):

            def feed(sequence: Any, rows: Decisions, j: int = j, of: str = of, by: str = by) -> None:
                used = rows.where(rows.given == j)
                if len(used.time):
                    sequence.update(getattr(used, of), per=getattr(used, by)[:, j])

            out.append(_Kind(
                "model", f"{what} against prediction", name, MeanSequence, feed,
                lambda look: look.lower > 1 + t or look.upper < 1 - t, f"interval outside {1 - t:g} to {1 + t:g}",
                f"Fit again on the decisions (largesse update): the predicted {what} is wrong, so the plan is.",
                SHARE / (2 * m), 1 / m, weekly=True,
            ))  # fmt: skip
    return out
