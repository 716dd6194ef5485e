"""Units that arrive one by one: the price follows from the remaining budget per unit and the units still to come."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from largesse import _check, _random
from largesse._arguments import checked
from largesse.allocate import pacing_kernels
from largesse.allocate.pacing_prices import WINDOW, Increments, Profile
from largesse.errors import InfeasibleBudget
from largesse.menu import Menu

__all__ = ["Pacer"]

Floats = NDArray[np.float64]
Key = str | int
_EVERY = 50  # units between two computations of the price
_STEPS = 20  # computations of the price, at least, over the units that are left


class Pacer:
    """Spends a budget over units that arrive one by one, each to be decided at once.

    A unit gets the treatment with the highest `value - price * cost`. Where treatments tie, because a step between them
    returns exactly the price, the dearest is drawn with probability `share`, else the cheapest is given; so the budget is
    paced also where few menus occur (segments, face values). Price and share are those at which the expected units spend
    the remaining budget per remaining unit. They are updated every 50 units, and more often near the end.

    **Which units are expected.** Without a profile: units like the last 2,000. That is near the best plan in hindsight if
    units come in a random order or drift slowly, and far below it if the best or the worst units come first. With a profile:
    its units after the same share of the horizon, with a correction for recent units that spend more or less than its units
    at the same place. That is near the best plan in all these orders, also if all values or costs are somewhat off; a profile
    in a wrong order is worse than none (docs/benchmarks/pacing.md).

    **Fewer or more units than the horizon.** The budget is spent evenly over the units of the horizon: of 90 % of them, about
    90 % of it. If more units come, the budget is used up: those units get the best that the rest pays for, mostly what costs
    nothing. Call `change(horizon=...)` as soon as another number is expected.

    **What is guaranteed.** `spent` is what was paid plus what is reserved. No decision raises it above the budget; so the budget
    is never exceeded as long as each unit has a treatment that costs nothing. Without a key, a cost counts as paid. With one
    (`decide(..., key=...)`) it is reserved until `report` replaces it by what was really paid. Payments may then exceed the
    budget, but by no more than the sum of their excesses over their reservations; never, if `cost` is the most that can be paid.

    A copy (`copy.deepcopy`, `pickle`) goes on as the original does.

    Args:
        budget: Budget of the whole horizon.
        horizon: Expected number of units.
        history: Menu of earlier units, in no particular order, of which the last 2,000 give the first price.
        profile: Menu of the units of a whole horizon in their order of arrival, for example of an earlier campaign; any number of
            units. Instead of `history`.
        seed: Seed of the draws; equal seeds and units give equal decisions.

    Attributes:
        price: Current shadow price λ: the value that one more unit of spend must bring.
        share: Probability of the dearest among treatments that tie at the price.
        decided: Number of units decided so far.

    Raises:
        DataError: The budget is negative or not a number, the horizon is not a whole number >= 1, the seed is not a whole number
            >= 0, or both history and profile are given.

    Reference:
        Jasin and Kumar 2012 (re-solving); Balseiro and Gur 2019 (pacing).

    >>> pacer = Pacer(2.0, horizon=4, history=Menu(value=[[0.0, 1.0], [0.0, 3.0]], cost=[[0.0, 1.0]] * 2), seed=2)
    >>> [pacer.decide([0.0, v], [0.0, 1.0]) for v in (0.5, 4.0, 2.0, 5.0)], pacer.spent
    ([0, 1, 0, 1], 2.0)
    """

    @checked
    def __init__(
        self, budget: float, horizon: int, *, history: Menu | None = None, profile: Menu | None = None, seed: int = 0
    ) -> None:
        self.budget = _check.number("budget", budget, low=0)
        _check.integers("horizon", [horizon], low=1, high=2**31 - 1, rule="must be >= 1", remedy="It counts units.")
        self.horizon = int(horizon)
        self.price, self.share, self.decided = 0.0, 1.0, 0
        self._sums: Floats = np.zeros(2)  # spend and its rounding remainder
        self._open: dict[Key, float] = {}  # reserved costs
        self._draws = np.random.default_rng(_random.whole(seed))
        self._recent: Increments | None = None
        self._profile: Profile | None = None
        self._treatments, self._due = 0, 0  # number of treatments, 0: not known yet; the unit before which to reprice
        self._expect(history, profile, seed)

    def _expect(self, history: Menu | None, profile: Menu | None, seed: int) -> None:
        """Takes the units that give the first price."""
        if history is not None and profile is not None:
            remedy = "Give the profile if its units are in their order of arrival."
            raise _check.refuse("profile", profile, "history and profile exclude each other", remedy)
        if profile is not None:
            self._treatments, self._profile = profile.n_treatments, Profile(profile, seed)
        elif history is not None:
            self._treatments, self._recent = history.n_treatments, Increments(history.n_treatments)
            latest = (np.ascontiguousarray(a[-WINDOW:], np.float64) for a in (history.value, history.cost))
            self._recent.record(*latest)
        if self._treatments:
            self._reprice()

    @property
    def spent(self) -> float:
        """Sum of what was paid and what is reserved."""
        return float(self._sums[0])

    @property
    def reserved(self) -> float:
        """Sum of the costs of decisions with a key that were not reported yet."""
        return math.fsum(self._open.values())

    @property
    def left(self) -> float:
        """Remaining budget: neither paid nor reserved."""
        return max(0.0, float((self.budget - self._sums[0]) - self._sums[1]))

    def decide(self, value: ArrayLike, cost: ArrayLike, *, key: Key | None = None) -> int:
        """Returns the treatment of the next unit, and counts its cost as spent.

        Args:
            value: Predicted value of each treatment, (M,).
            cost: Predicted cost of each treatment, (M,), >= 0.
            key: The caller's name of this decision, under which `report` replaces the cost by what was paid. None: the cost is
                taken as paid.

        Raises:
            DataError: A value or cost is missing, not finite or, for costs, negative; or the key is reserved already.
            InfeasibleBudget: The remaining budget does not pay for the cheapest treatment; nothing is counted.
        """
        v, c = self._checked(value, cost, ndim=1)
        return int(self._decide(v[None], c[None], None if key is None else self._keys("key", [key], 1))[0])

    @checked
    def decide_many(
        self, value: ArrayLike, cost: ArrayLike, *, keys: Sequence[Key] | NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Returns the treatments of the next n units, (n,): those that `decide` would return one by one.

        Args:
            value: Predicted value of each unit and treatment, (n, M), in order of arrival.
            cost: Predicted cost of each unit and treatment, (n, M), >= 0.
            keys: The caller's name of each decision, (n,), as in `decide`.

        Raises:
            DataError: A value or cost is not finite or, for costs, negative; or a key is given twice or reserved already.
            InfeasibleBudget: The remaining budget does not pay for a unit's cheapest treatment; no unit of the n is counted.

        >>> pacer = Pacer(500.0, horizon=1000)  # one kind of menu: a share is drawn
        >>> taken = pacer.decide_many([[0.0, 1.0]] * 900, [[0.0, 1.0]] * 900)
        >>> bool(440 <= taken.sum() <= 460), pacer.spent == float(taken.sum())
        (True, True)
        """
        v, c = self._checked(value, cost, ndim=2)
        return self._decide(v, c, None if keys is None else self._keys("keys", keys, len(v)))

    def report(self, key: Key, paid: float) -> None:
        """Replaces the reserved cost of a decision by what was paid: 0 if a coupon was not redeemed or has expired.

        Reports may come in any order, at any time, also after the horizon; the price follows at its next update. A key is free
        again once it is reported. Keys of decisions that cost nothing are reserved with 0 and may be reported too.

        Args:
            key: The key given to `decide`.
            paid: What was paid in the end, >= 0. Report once per key, when no further payment can follow.

        Raises:
            DataError: Nothing is reserved under this key, or `paid` is negative or not a number.

        >>> pacer = Pacer(10.0, horizon=5)
        >>> pacer.decide([0.0, 9.0], [0.0, 1.5], key="visit 1"), pacer.spent, pacer.reserved
        (1, 1.5, 1.5)
        >>> pacer.report("visit 1", paid=5.0)
        >>> pacer.spent, pacer.reserved
        (5.0, 0.0)
        """
        (name,) = self._named("key", [key])
        if name not in self._open:
            raise _check.refuse(
                "key", key, "nothing is reserved under it", "Report each decision once, by its own key."
            )
        amount = _check.number("paid", paid, low=0, remedy="Give the amount paid, 0 if nothing was.")
        for change in (-self._open.pop(name), amount):
            pacing_kernels.add(self._sums, change)

    def change(self, *, budget: float | None = None, horizon: int | None = None) -> None:
        """Sets a new total budget or horizon, spend and units so far included, and updates the price.

        Raises:
            DataError: The budget is below the spend so far, or the horizon below the number of units decided.
        """
        if budget is not None:
            remedy = f"{self.spent:g} is spent already."
            self.budget = _check.number("budget", budget, low=self.spent, remedy=remedy)
        if horizon is not None:
            low, remedy = max(1, self.decided), f"{self.decided} units are decided already."
            _check.integers("horizon", [horizon], low=low, high=2**31 - 1, rule=f"must be >= {low}", remedy=remedy)
            self.horizon = int(horizon)
        self._reprice()

    def _checked(self, value: Any, cost: Any, ndim: int) -> tuple[Floats, Floats]:
        v, c = (_check.array(name, a, ndim=ndim, dtype=np.float64) for name, a in (("value", value), ("cost", cost)))
        for name, a in (("value", v), ("cost", c)):
            _check.finite(name, a, "Give a number for each treatment.")
        _check.nonnegative("cost", c, "Income belongs to value.")
        m = self._treatments or v.shape[-1]
        if not v.shape == c.shape == (*v.shape[:-1], m):
            got, rule = (v.shape, c.shape), f"both must be equal, with {m} treatments"
            raise _check.refuse("value.shape, cost.shape", got, rule, "Give every treatment.")
        return np.ascontiguousarray(v), np.ascontiguousarray(c)

    @staticmethod
    def _named(field: str, keys: Sequence[Any]) -> list[Key]:
        """Returns the keys as text and Python integers."""
        for k in keys:
            if isinstance(k, bool) or not isinstance(k, str | int | np.integer):
                raise _check.refuse(field, k, "must be text or a whole number", "Name each decision, e.g. by its id.")
        return [k if isinstance(k, str) else int(k) for k in keys]

    def _keys(self, field: str, keys: Any, n: int) -> list[Key]:
        """Returns new keys, one for each of n decisions."""
        names = self._named(field, keys)
        if len(names) != n:
            raise _check.refuse(f"len({field})", len(names), f"must be the number of units, {n}", "Give one per unit.")
        earlier: set[Key] = set()
        for k in names:
            if k in self._open or k in earlier:
                remedy = "Give every decision its own key, or report this one first."
                raise _check.refuse(field, k, "it names another decision that was not reported", remedy)
            earlier.add(k)
        return names

    def _decide(self, value: Floats, cost: Floats, keys: list[Key] | None) -> NDArray[np.int32]:
        """Decides units (n, M), or raises InfeasibleBudget and leaves all as it was."""
        cheapest = cost.min(axis=1)
        before: dict[str, Any] = {}
        if cheapest.any():  # the budget may not suffice
            before = vars(self) | {k: copy.deepcopy(vars(self)[k]) for k in ("_sums", "_draws", "_recent")}
        taken = np.empty(len(value), np.int32)
        done = self._decide_in_steps(value, cost, taken)
        if done < len(value):
            left = self.left
            vars(self).update(before)
            raise InfeasibleBudget(left, float(cheapest[done]))
        if keys is not None:
            self._open.update(zip(keys, cost[np.arange(len(taken)), taken].tolist(), strict=True))
        return taken

    def _decide_in_steps(self, value: Floats, cost: Floats, taken: NDArray[np.int32]) -> int:
        """Decides units between two updates of the price at once; returns how many could be paid for."""
        if self._recent is None:
            self._recent, self._treatments = Increments(value.shape[1]), value.shape[1]
        n, first, draws = len(value), 0, self._draws.random(len(value))
        while first < n:
            start = first
            if self.decided >= self._due:  # the price counts the unit to be decided
                self._recent.record(value[first : first + 1], cost[first : first + 1])
                self._reprice()
                start += 1
            stop = min(n, first + self._due - self.decided)
            self._recent.record(value[start:stop], cost[start:stop])
            k = slice(first, stop)
            done = pacing_kernels.choose(
                value[k], cost[k], draws[k], self.price, self.share, self.budget, self._sums, taken[k]
            )
            self.decided += done
            first += done
            if first < stop:
                return first
        return n

    def _reprice(self) -> None:
        """Sets price and share for the remaining budget per remaining unit, and the unit before which to do so again."""
        remaining = self.horizon - self.decided
        per_unit, way = self.left / max(1, remaining), self.decided / self.horizon
        recent = self._recent
        if self._profile is not None:
            if recent is not None and per_unit > 0:
                start = max(0.0, way - len(recent) / self.horizon)
                per_unit /= self._profile.ratio(recent, start, way, per_unit, (self.price, self.share))
            self.price, self.share = self._profile.price(way, per_unit, self.price)
        elif recent is not None:
            self.price, self.share = recent.price(per_unit, self.price)
        step = min(_EVERY, max(1, remaining // _STEPS)) if remaining > 0 else _EVERY
        few = self._profile is None and (recent is None or recent.recorded < _EVERY)  # then every unit matters
        self._due = self.decided + (1 if few else step)
