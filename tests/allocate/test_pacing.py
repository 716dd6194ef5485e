"""Units that arrive one by one, against the best plan in hindsight."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from largesse.allocate import Pacer, frontier, solve
from largesse.allocate.pacing_kernels import price_among, spend_among
from largesse.errors import DataError, InfeasibleBudget, SchemaError
from largesse.menu import Menu

N = 5000


def arrivals(seed: int, drift: Any = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (N, 4)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    return value * rng.random((N, 1)) * drift, cost


def run(pacer: Pacer, value: Any, cost: Any) -> Any:
    return np.array([pacer.decide(v, c) for v, c in zip(value, cost, strict=True)])


T = np.arange(N)[:, None] / N
DRIFTS = {"none": (1.0, 0.97), "up": (0.7 + 0.6 * T, 0.93), "wave": (1 + 0.4 * np.sin(4 * np.pi * T), 0.93),
          "jump": (np.where(T < 0.5, 0.7, 1.3), 0.93)}  # fmt: skip


@pytest.mark.parametrize("drift", DRIFTS)
def test_it_is_near_the_best_plan_in_hindsight_and_within_the_budget(drift: str):
    scale, bar = DRIFTS[drift]
    value, cost = arrivals(1, scale)
    budget = 0.2 * float(cost[:, -1].sum())
    pacer = Pacer(budget, N)
    taken = run(pacer, value, cost)
    rows = np.arange(N)
    assert value[rows, taken].sum() >= bar * solve(Menu(value=value, cost=cost), budget).value
    assert math.fsum(cost[rows, taken]) <= budget
    assert pacer.spent == pytest.approx(math.fsum(cost[rows, taken]), rel=1e-15)
    assert pacer.spent >= 0.98 * budget
    assert pacer.decided == N


def test_the_last_coin_is_never_spent_twice():
    for seed in range(5):
        value, cost = arrivals(seed)
        cost = np.round(cost, 1) + 0.1 * (cost > 0)
        budget = float(cost[:40, 1].sum())
        pacer = Pacer(budget, 60)  # many more units arrive than the horizon
        taken = run(pacer, value[:400], cost[:400])
        assert math.fsum(cost[np.arange(400), taken]) <= budget


def test_with_a_history_the_first_price_is_that_of_the_plan():
    value, cost = arrivals(2)
    menu = Menu(value=value[:2000], cost=cost[:2000])
    pacer = Pacer(0.5 * N, N, history=menu)
    assert pacer.price == frontier(menu).price_at(0.5 * 2000)
    assert Pacer(1e9, N, history=menu).price == 0


@pytest.mark.parametrize("done", [700, 3000])
def test_the_price_is_that_of_the_last_2000_units_at_the_budget_per_unit_left(done: int):
    value, cost = arrivals(2)
    pacer = Pacer(0.2 * N, N)
    pacer.decide_many(value[:done], cost[:done])
    pacer.change()
    last = slice(max(0, done - 2000), done)
    front = frontier(Menu(value=value[last], cost=cost[last]))
    assert pacer.price == front.price_at(pacer.left / (N - done) * min(done, 2000))


def test_a_budget_may_change_on_the_way():
    value, cost = arrivals(3)
    pacer = Pacer(0.2 * N, N)
    run(pacer, value[: N // 2], cost[: N // 2])
    before = pacer.price
    pacer.change(budget=0.4 * N)
    assert pacer.price < before
    run(pacer, value[N // 2 :], cost[N // 2 :])
    assert 0.39 * N <= pacer.spent <= 0.4 * N
    with pytest.raises(DataError, match="budget.*spent already"):
        pacer.change(budget=0.1)
    with pytest.raises(DataError, match="horizon.*decided already"):
        pacer.change(horizon=10)


def test_a_treatment_that_is_too_dear_is_not_given():
    pacer = Pacer(1.0, 1)
    assert pacer.decide([0.0, 3.0, 9.0], [0.0, 1.0, 5.0]) == 1
    assert pacer.decide([0.0, 9.0, 9.0], [0.0, 1.0, 5.0]) == 0
    assert pacer.left == 0
    with pytest.raises(InfeasibleBudget):
        pacer.decide([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert (pacer.decided, pacer.spent) == (2, 1.0), "who is refused is not counted"


def test_input_that_makes_no_sense_is_refused():
    for given in ({"budget": -1.0, "horizon": 5}, {"budget": np.nan, "horizon": 5}, {"budget": 1.0, "horizon": 0}):
        with pytest.raises(DataError):
            Pacer(**given)
    pacer = Pacer(1.0, 5)
    pacer.decide([0.0, 1.0], [0.0, 1.0])
    for value, cost in (([0.0], [0.0]), ([0.0, 1.0], [0.0]), ([0.0, np.nan], [0.0, 1.0]), ([0.0, 1.0], [0.0, -1.0])):
        with pytest.raises(DataError):
            pacer.decide(value, cost)
    assert pacer.decided == 1


def kinds(k: int, n: int, seed: int) -> tuple[Any, Any]:
    """Returns the menus of n units of k kinds, in a random order."""
    rng = np.random.default_rng(seed)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (k, 4)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    rows = rng.integers(k, size=n)
    return (value * rng.random((k, 1)))[rows], cost[rows]


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_few_kinds_of_menus_are_paced_and_of_fewer_units_a_part_is_spent(k: int, share: float):
    for seed in range(5):
        n = 20_000
        value, cost = kinds(k, n, seed)
        budget = share * float(cost[:, -1].sum())
        spend = np.cumsum(cost[np.arange(n), Pacer(budget, n).decide_many(value, cost)]) / budget
        assert np.abs(spend - np.arange(1, n + 1) / n).max() < 0.06, "even over the horizon"
        assert spend[9 * n // 10 - 1] == pytest.approx(0.9, abs=0.02), "what is spent if a tenth does not come"
        assert 0.99 < spend[-1] <= 1 + 1e-12


def test_returns_that_differ_by_rounding_are_one_price():
    value, cost = np.array([[0.0, 0.3], [0.0, 3.0]]), np.array([[0.0, 0.1], [0.0, 1.0]])
    assert 0.3 / 0.1 != 3.0 / 1.0
    rows = np.random.default_rng(0).integers(2, size=N)
    pacer = Pacer(0.5 * float(cost[rows, 1].sum()), N)
    taken = pacer.decide_many(value[rows], cost[rows])
    for face in (0, 1):
        assert taken[rows == face].mean() == pytest.approx(0.5, abs=0.04), "both faces are drawn alike"


def test_draws_repeat_by_the_seed_and_do_not_follow_a_pattern_of_arrivals():
    menu = np.tile([0.0, 1.0], (N, 1)), np.tile([0.0, 1.0], (N, 1))
    first, again, other = (Pacer(0.5 * N, N, seed=s).decide_many(*menu) for s in (3, 3, 4))
    assert (first == again).all()
    assert np.mean(first == other) == pytest.approx(0.5, abs=0.03)
    for period in (2, 3, 10):
        for k in range(period):
            assert first[k::period].mean() == pytest.approx(0.5, abs=0.08)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 60),
    distinct=st.integers(1, 60),
    part=st.floats(0, 1.2),
    near=st.booleans(),
)
def test_the_price_and_share_spend_the_budget_as_sorting_does(
    seed: int, k: int, distinct: int, part: float, near: bool
):
    rng = np.random.default_rng(seed)
    slope, extra = rng.gamma(1.0, 1.0, distinct)[rng.integers(distinct, size=k)], rng.gamma(2.0, 1.0, k)
    budget = part * extra.sum()
    order = np.argsort(-slope)
    total = np.cumsum(extra[order])
    hypothesis.assume((np.abs(total - budget) > 1e-9 * total[-1]).all())
    expected = 0.0 if total[-1] <= budget else float(slope[order][np.searchsorted(total, budget, side="right")])
    padded, costs = np.append(slope, np.zeros(3)), np.append(extra, np.ones(3))
    price, share = price_among(padded, costs, budget, expected * 1.1 if near else rng.random())
    assert price == expected
    assert 0 <= share <= 1
    assert spend_among(padded, costs, price, share) == pytest.approx(min(budget, total[-1]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("given", ["nothing", "history", "profile"])
@pytest.mark.parametrize("few", [True, False])
def test_batches_decide_as_one_by_one(given: str, few: bool):
    value, cost = kinds(3, 1500, 1) if few else tuple(a[:1500] for a in arrivals(1))
    known = {} if given == "nothing" else {given: Menu(value=value[::-1], cost=cost[::-1])}
    pacers = [Pacer(0.2 * float(cost[:1200, -1].sum()), 1200, **known) for _ in range(3)]
    one = run(pacers[0], value, cost)
    whole = pacers[1].decide_many(value, cost)
    parts, first = [], 0
    for n in (1, 2, 47, 50, 51, 700, 649):
        parts.append(pacers[2].decide_many(value[first : first + n], cost[first : first + n]))
        first += n
    for taken, pacer in ((whole, pacers[1]), (np.concatenate(parts), pacers[2])):
        assert taken.dtype == np.int32
        assert (taken == one).all()
        assert (pacer.spent, pacer.price, pacer.share, pacer.decided) == (
            pacers[0].spent, pacers[0].price, pacers[0].share, 1500,
        )  # fmt: skip


def test_of_more_units_than_announced_the_later_ones_get_the_rest():
    value, cost = kinds(2, N, 3)
    budget, early = 0.2 * float(cost[: N // 2, -1].sum()), N // 4
    pacer, warned = Pacer(budget, N // 2), Pacer(budget, N // 2)
    taken = pacer.decide_many(value, cost)
    assert cost[np.arange(N // 2), taken[: N // 2]].sum() >= 0.99 * budget, "spent over the announced horizon"
    assert pacer.spent <= budget
    warned.decide_many(value[:early], cost[:early])
    warned.change(horizon=N)
    rest = warned.decide_many(value[early:], cost[early:])
    half = (N - early) // 2
    first, second = (cost[early + k, rest[k]].sum() for k in (np.arange(half), np.arange(half, N - early)))
    assert first / second == pytest.approx(1, abs=0.1), "the rest of the budget over the rest of the units"
    assert 0.99 * budget <= warned.spent <= budget


def test_a_batch_that_cannot_be_paid_for_counts_nothing():
    value, cost = (a[:300].copy() for a in kinds(2, 300, 0))
    cost[200:] += 1.0
    pacer = Pacer(0.5 * float(cost[:200, -1].mean()), 300)
    pacer.decide_many(value[:100], cost[:100])
    before = pickle.dumps(pacer)
    with pytest.raises(InfeasibleBudget):
        pacer.decide_many(value[100:], cost[100:], keys=range(200))
    assert pickle.dumps(pacer) == before
    with pytest.raises(InfeasibleBudget):
        pacer.decide(value[0], cost[0] + 1e6)
    assert pickle.dumps(pacer) == before
    assert (pacer.decided, pacer.reserved) == (100, 0.0)


def test_copies_go_on_as_the_original_does():
    value, cost = kinds(3, N, 5)
    for known in ({}, {"profile": Menu(value=value, cost=cost)}):
        pacer = Pacer(0.2 * float(cost[:, -1].sum()), N, **known)
        pacer.decide_many(value[:777], cost[:777])
        copies = [copy.deepcopy(pacer), pickle.loads(pickle.dumps(pacer))]
        rest = pacer.decide_many(value[777:], cost[777:])
        for each in copies:
            assert (each.decide_many(value[777:], cost[777:]) == rest).all()
            assert each.spent == pacer.spent


@pytest.mark.parametrize("excess", [False, True])
def test_reports_in_any_order_replace_reservations_and_the_budget_is_exceeded_by_excesses_alone(excess: bool):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        value, face = (a[:3000] for a in arrivals(seed))
        predicted = 0.3 * face if excess else face
        pacer = Pacer(0.2 * float(predicted[:, -1].sum()), 3000)
        reserved: dict[int, float] = {}
        paid: list[float] = []
        over = 0.0
        for first in range(0, 3000, 100):
            k = np.arange(first, first + 100)
            taken = pacer.decide_many(value[k], predicted[k], keys=k)
            reserved |= dict(zip(k.tolist(), predicted[k, taken].tolist(), strict=True))
            for i in rng.permutation(list(reserved))[:90].tolist():
                amount = float(rng.random() < 0.35) * reserved[i] * (1 / 0.3 if excess else 1)
                over += max(0.0, amount - reserved.pop(i))
                paid.append(amount)
                pacer.report(i, amount)
            assert pacer.reserved == pytest.approx(math.fsum(reserved.values()), rel=1e-15)
            assert pacer.spent == pytest.approx(math.fsum(paid) + pacer.reserved, rel=1e-12)
            assert pacer.spent <= pacer.budget + over
        for i in list(reserved):
            amount = reserved[i] * (1 / 0.3 if excess else 1)
            over += amount - reserved[i]
            paid.append(amount)
            pacer.report(i, amount)
        assert pacer.reserved == 0
        assert pacer.spent == pytest.approx(math.fsum(paid), rel=1e-12)
        assert math.fsum(paid) <= pacer.budget + over * (1 + 1e-12)
        assert excess == (over > 0)


def test_what_was_not_redeemed_is_spent_on_later_units():
    menu = [0.0, 1.0], [0.0, 1.0]
    pacer = Pacer(100.0, 1000)
    given = 0
    for i in range(1000):
        taken = pacer.decide(*menu, key=f"visit {i}")
        given += taken
        pacer.report(f"visit {i}", paid=0.5 * taken)
    assert 180 <= given <= 200, "coupons that cost half of what was predicted reach almost twice as many"
    assert pacer.spent == 0.5 * given


@pytest.mark.parametrize("order", ["best", "worst"])
def test_a_profile_of_arrivals_paces_orders_that_recent_units_mislead(order: str):
    def ordered(seed: int) -> tuple[Any, Any]:
        value, cost = arrivals(seed)
        rows = np.argsort(value[:, -1] / cost[:, -1])
        return (a[rows[::-1] if order == "best" else rows] for a in (value, cost))

    value, cost = ordered(1)
    budget = 0.2 * float(cost[:, -1].sum())
    best = solve(Menu(value=value, cost=cost), budget).value

    def reached(scale: float = 1.0, **known: Any) -> float:
        pacer = Pacer(budget, N, **known)
        taken = pacer.decide_many(scale * value, cost)
        assert pacer.spent <= budget
        return float(value[np.arange(N), taken].sum() / best)

    profile = dict(zip(("value", "cost"), ordered(2), strict=True))
    assert reached() < 0.8
    assert reached(profile=Menu(**profile)) > 0.985
    assert reached(1.2, profile=Menu(**profile)) > 0.95
    assert reached(0.8, profile=Menu(**profile)) > 0.95


def test_a_profile_with_another_level_of_values_is_corrected_by_the_spend_of_recent_units():
    reached = []
    for seed in range(3):
        (value, cost), (other, its_cost) = arrivals(seed), arrivals(seed + 50)
        budget = 0.2 * float(cost[:, -1].sum())
        pacer = Pacer(budget, N, profile=Menu(value=other / 1.5, cost=its_cost))
        spend = np.cumsum(cost[np.arange(N), pacer.decide_many(value, cost)]) / budget
        reached.append(np.abs(spend - np.arange(1, N + 1) / N).max())
    assert max(reached) < 0.19, "without the correction the spend runs ahead by .21 to .24"


def test_of_a_long_profile_a_part_is_kept_and_a_short_one_serves():
    value, cost = arrivals(1, 0.5 + T)
    budget = 0.2 * float(cost[:, -1].sum())
    best = solve(Menu(value=value, cost=cost), budget).value
    for times in (0.1, 1, 7):
        rows = np.sort(np.random.default_rng(0).integers(N, size=int(times * N)))
        pacer = Pacer(budget, N, profile=Menu(value=value[rows], cost=cost[rows]))
        assert value[np.arange(N), pacer.decide_many(value, cost)].sum() > 0.985 * best


@pytest.mark.parametrize("given", ["nothing", "history", "profile"])
def test_no_budget_a_huge_one_and_a_single_treatment(given: str):
    value, cost = (a[:400] for a in arrivals(1))
    known = {} if given == "nothing" else {given: Menu(value=value, cost=cost)}
    assert not Pacer(0.0, 100, **known).decide_many(value, cost).any()
    assert (Pacer(1e308, 5, **known).decide_many(value, cost) == value.argmax(axis=1)).all()
    assert not Pacer(5.0, 100).decide_many(value[:, :1], cost[:, :1]).any()


def test_keys_payments_and_menus_that_make_no_sense_are_refused():
    menu = [0.0, 1.0], [0.0, 1.0]
    pacer = Pacer(10.0, 5)
    pacer.decide(*menu, key="a")
    for call, words in {
        (lambda: pacer.decide(*menu, key="a")): "key == 'a': it names another decision",
        (lambda: pacer.decide(*menu, key=True)): "key == True: must be text or a whole number",
        (lambda: pacer.decide_many([menu[0]] * 2, [menu[1]] * 2, keys=["b", "b"])): "keys == 'b': it names another",
        (lambda: pacer.decide_many([menu[0]] * 2, [menu[1]] * 2, keys=["b"])): r"len\(keys\) == 1: .* units, 2",
        (lambda: pacer.decide_many([menu[0]], [menu[1]], keys=[1.5])): "keys == 1.5: must be text or a whole number",
        (lambda: pacer.decide_many([[0.0, 1.0, 2.0]], [[0.0, 1.0, 2.0]])): "both must be equal, with 2 treatments",
        (lambda: pacer.decide_many([menu[0]], [[0.0, -1.0]])): r"cost\[0, 1\] == -1.0",
        (lambda: pacer.report("b", 1.0)): "key == 'b': nothing is reserved",
        (lambda: pacer.report("a", -1.0)): "paid == -1.0",
        (lambda: pacer.report("a", math.nan)): "paid == nan",
    }.items():
        with pytest.raises(DataError, match=words):
            call()
    assert (pacer.decided, pacer.reserved) == (1, pacer.spent)
    pacer.report("a", 0.5)
    assert pacer.spent == 0.5
    with pytest.raises(DataError, match="key == 'a': nothing is reserved"):
        pacer.report("a", 0.5)
    units = Menu(value=[menu[0]], cost=[menu[1]])
    with pytest.raises(DataError, match="history and profile exclude each other"):
        Pacer(1.0, 5, history=units, profile=units)
    with pytest.raises(DataError, match="seed"):
        Pacer(1.0, 5, seed=-1)
    with pytest.raises(SchemaError, match="profile == .*must be a Menu or None, it is a list"):
        Pacer(1.0, 5, profile=[menu])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="with 2 treatments"):
        Pacer(1.0, 5, profile=units).decide([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
