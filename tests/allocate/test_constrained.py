"""Plans under rules: against HiGHS on the full linear programme, within every limit, and conflicts named correctly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog

from largesse.allocate import Count, Return, Spend, Use, constrained, solve, solve_under
from largesse.allocate.rules import rows_of
from largesse.errors import DataError, InfeasibleRules
from largesse.menu import Menu, Status

NAMES = ("none", "a", "b", "c", "d")
N = 500


def problem(seed: int = 0, n: int = N) -> tuple[Menu, np.random.Generator]:
    rng = np.random.default_rng(seed)
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (n, 5)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    return Menu(value=value * rng.random((n, 1)), cost=cost, treatments=NAMES), rng


def full(menu: Menu) -> float:
    return float(menu.cost[:, -1].sum())


def groups(rng: np.random.Generator, n: int = N, count: int = 4) -> Any:
    return rng.integers(0, count, n)


def minutes(rng: np.random.Generator, n: int = N) -> Any:
    used = rng.random((n, 5))
    used[:, 0] = 0
    return used


RULES: dict[str, Any] = {
    "cap": lambda m, rng: [Spend(at_most=0.3 * full(m)), Count(treatment="d", at_most=0.05 * m.n)],
    "minimum count": lambda m, rng: [Spend(at_most=0.3 * full(m)), Count(treatment="a", at_least=0.3 * m.n)],
    "exact count": lambda m, rng: [Spend(at_most=0.3 * full(m)), Count(treatment="b", at_least=70, at_most=70)],
    "cities": lambda m, rng: [
        Spend(at_most=0.3 * full(m)),
        Spend(by=groups(rng), at_most=[0.02 * full(m)] + [0.09 * full(m)] * 3),
    ],
    "floors": lambda m, rng: [Spend(at_most=0.3 * full(m)), Spend(by=groups(rng), at_least=0.06 * full(m))],
    "contacts": lambda m, rng: [Spend(at_most=0.3 * full(m)), Use(amount=[0, 1, 1, 2, 2], at_most=0.6 * m.n)],
    "three resources": lambda m, rng: [
        Spend(at_most=0.3 * full(m)),
        Use(amount=minutes(rng), at_most=0.3 * m.n),
        Use(amount=minutes(rng), at_most=0.25 * m.n),
    ],
    "return": lambda m, rng: [Spend(at_most=0.6 * full(m)), Return(at_least=1.1 * m.value.sum() / m.cost.sum())],
    "must spend": lambda m, rng: [
        Spend(at_most=0.9 * full(m), at_least=0.85 * full(m)),
        Count(treatment=("c", "d"), at_most=0.9 * m.n),
    ],
    "some units": lambda m, rng: [
        Spend(at_most=0.4 * full(m)),
        Count(treatment=("a", "b", "c", "d"), units=rng.random(m.n) < 0.3, at_most=20),
    ],
}


def about(row: Any, n: int) -> Any:
    return np.ones(n, bool) if row.codes is None else row.codes == row.group


def optimum(menu: Menu, rules: Any, allowed: Any = None) -> float:
    """The optimum of the linear programme of all units by HiGHS."""
    rows, shape = rows_of(rules, menu), menu.value.shape
    tables = np.array(
        [np.where(about(r, menu.n)[:, None], r.amounts(menu, np.arange(menu.n)), 0).ravel() for r in rows]
    )
    top = np.ones(shape) if allowed is None else allowed.astype(float)
    done = linprog(
        -menu.value.ravel(), A_ub=sparse.csr_matrix(tables), b_ub=[r.limit for r in rows],
        A_eq=sparse.kron(sparse.eye(menu.n), np.ones((1, shape[1])), format="csr"),
        b_eq=np.ones(menu.n), bounds=np.column_stack([np.zeros(menu.value.size), top.ravel()]), method="highs",
    )  # fmt: skip
    assert done.success
    return float(-done.fun)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", RULES)
def test_a_plan_is_near_the_linear_programme_and_within_every_limit(kind: str, seed: int):
    menu, rng = problem(seed)
    rules = RULES[kind](menu, rng)
    plan, best = solve_under(menu, rules), optimum(menu, rules)
    taken = np.arange(menu.n), plan.treatment
    assert plan.value == pytest.approx(menu.value[taken].sum(), rel=1e-12)
    assert plan.spend == pytest.approx(menu.cost[taken].sum(), rel=1e-12)
    for row in rows_of(rules, menu):
        assert row.amounts(menu, np.arange(menu.n))[taken][about(row, menu.n)].sum() <= row.limit + 1e-9
    assert plan.bound >= best * (1 - 1e-9)
    assert plan.bound == pytest.approx(best, rel=2e-7)
    assert plan.value >= best * (1 - 1e-3), "500 units: one of them is two parts in a thousand"
    assert plan.status in (Status.WITHIN_GAP, Status.OPTIMAL)


def test_more_units_leave_a_smaller_gap():
    menu, rng = problem(3, 10_000)
    for kind in ("cap", "contacts", "must spend"):
        plan = solve_under(menu, RULES[kind](menu, rng))
        assert plan.gap < 2e-6 * plan.value


def test_a_budget_alone_is_the_plan_of_solve():
    menu, _ = problem()
    budget = 0.3 * full(menu)
    plan, unruled = solve_under(menu, [Spend(at_most=budget)]), solve(menu, budget)
    assert plan.value == pytest.approx(unruled.bound, abs=unruled.gap + 1e-3)
    assert plan.bound == pytest.approx(unruled.bound, rel=1e-5)
    assert plan.price == pytest.approx(unruled.price, rel=0.02)
    assert plan.budget == budget


def test_shadow_prices_say_what_one_more_is_worth():
    menu, rng = problem(1)
    rules = RULES["cap"](menu, rng)
    plan = solve_under(menu, rules)
    more = [rules[0], Count(treatment="d", at_most=rules[1].at_most + 5)]
    assert optimum(menu, more) - optimum(menu, rules) == pytest.approx(5 * plan.rules[1].price, rel=0.1)
    assert [b.binds for b in plan.rules] == [True, True]
    loose = solve_under(menu, [rules[0], Count(treatment="d", at_most=N)])
    assert (loose.rules[1].price, loose.rules[1].binds) == (0, False)
    assert loose.rules[1].used <= N


def test_eligible_and_kept_treatments_are_obeyed():
    menu, rng = problem(2)
    eligible = rng.random((N, 5)) < 0.6
    eligible[:, 0] = True
    keep = np.where(rng.random(N) < 0.1, rng.integers(0, 5, N), -1)
    rules = [Spend(at_most=0.35 * full(menu))]
    plan = solve_under(menu, rules, eligible=eligible, keep=keep)
    fixed = keep >= 0
    np.testing.assert_array_equal(plan.treatment[fixed], keep[fixed])
    assert eligible[np.arange(N), plan.treatment][~fixed].all()
    allowed = eligible.copy()
    allowed[fixed] = np.eye(5, dtype=bool)[keep[fixed]]
    assert plan.value >= optimum(menu, rules, allowed) * (1 - 1e-3)


CONFLICTS: dict[str, Any] = {
    "money and count": (
        lambda m: [Spend(at_most=10.0), Count(treatment="d", at_least=400), Count(treatment="a", at_most=10)],
        ("spend at most 10", "units with 'd' at least 400"),
    ),
    "too many": (
        lambda m: [Spend(at_most=1e9), Count(treatment="a", at_least=N + 1)],
        ("units with 'a' at least 501",),
    ),
    "all of it": (lambda m: [Spend(at_least=2 * full(m))], None),
    "return": (lambda m: [Return(at_least=1e6), Spend(at_least=0.5 * full(m))], None),
}


@pytest.mark.parametrize("kind", CONFLICTS)
def test_rules_that_conflict_are_named(kind: str):
    menu, _ = problem()
    make, names = CONFLICTS[kind]
    with pytest.raises(InfeasibleRules, match="Relax one of them") as caught:
        solve_under(menu, make(menu))
    if names:
        assert caught.value.rules == names
    assert len(caught.value.rules) <= 2
    assert caught.value.proven
    several = len(caught.value.rules) > 1
    assert ("these 2 cannot hold together" if several else "it cannot hold") in str(caught.value)


def test_rules_that_hold_for_fractions_only_are_refused_too():
    menu = Menu(value=[[0.0, 1.0]] * 3, cost=[[0.0, 2.0]] * 3, treatments=("none", "coupon"))
    with pytest.raises(InfeasibleRules, match="no plan of whole units was found") as caught:
        solve_under(menu, [Spend(at_most=3.5, at_least=3.0)])
    assert not caught.value.proven


REFUSED: dict[str, Any] = {
    "nothing to obey": ([], "rules == .*nothing to obey"),
    "no bound": ([Spend()], "bounds nothing"),
    "unknown treatment": ([Count(treatment="z", at_most=3)], "treatment == 'z'"),
    "infinite": ([Spend(at_most=np.inf)], "at_most"),
    "mask": ([Spend(at_most=1.0, units=np.ones(3, bool))], "units == .*mask of 500"),
    "limits without groups": ([Spend(at_most=[1.0, 2.0])], "needs the groups"),
    "groups": ([Spend(at_most=[1.0, 2.0], by=np.arange(N))], "limits are given for 2 groups"),
    "codes": ([Spend(at_most=1.0, by=np.ones(N))], "by == .*whole numbers"),
    "amounts": ([Use(amount=[1.0, 2.0], at_most=1.0)], "amount.shape"),
    "no rule": ([3.0], "each entry a Rule"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_rules_that_make_no_sense_are_refused(kind: str):
    menu, _ = problem()
    rules, words = REFUSED[kind]
    with pytest.raises(DataError, match=words):
        solve_under(menu, rules)


def test_masks_that_make_no_sense_are_refused():
    menu, _ = problem()
    budget = [Spend(at_most=10.0)]
    with pytest.raises(DataError, match="eligible == .*must be a mask"):
        solve_under(menu, budget, eligible=np.ones((N, 5)))
    with pytest.raises(DataError, match=r"eligible\[0\].*has no eligible treatment \(500 such rows"):
        solve_under(menu, budget, eligible=np.zeros((N, 5), bool))
    with pytest.raises(DataError, match="keep"):
        solve_under(menu, budget, keep=np.full(N, 7))


def test_nothing_is_printed(capfd):
    menu, rng = problem(0, 3000)
    for kind in ("cap", "contacts", "must spend"):
        solve_under(menu, RULES[kind](menu, rng))
    assert capfd.readouterr() == ("", "")


def test_amounts_may_be_tiny_or_huge():
    menu, _ = problem()
    for size in (1e-9, 1e9):
        scaled = Menu(value=menu.value, cost=menu.cost * size, treatments=NAMES)
        plan = solve_under(scaled, [Spend(at_most=0.3 * full(scaled)), Count(treatment="d", at_most=25)])
        same = solve_under(menu, [Spend(at_most=0.3 * full(menu)), Count(treatment="d", at_most=25)])
        assert plan.value == pytest.approx(same.value, rel=1e-3)
        assert plan.spend <= 0.3 * full(scaled)


def test_the_room_for_whole_units_grows_until_they_fit(monkeypatch):
    monkeypatch.setattr(constrained, "_INTEGER", (1, 200))
    menu, _ = problem(4)
    plan = solve_under(
        menu, [Spend(at_most=0.3 * full(menu), at_least=0.2999 * full(menu)), Count(treatment="a", at_most=7)]
    )
    assert 0.2999 * full(menu) <= plan.spend <= 0.3 * full(menu)


def test_a_hundred_groups_are_as_good_as_one_rule():
    menu, rng = problem(5, 20_000)
    city = rng.integers(0, 100, menu.n)
    own = np.bincount(city, menu.cost[:, -1]) * rng.uniform(0.1, 0.5, 100)
    plan = solve_under(menu, [Spend(at_most=0.2 * full(menu)), Spend(by=city, at_most=own)])
    spent = np.bincount(city, menu.cost[np.arange(menu.n), plan.treatment], 100)
    assert (spent <= own).all()
    assert plan.spend <= 0.2 * full(menu)
    assert plan.gap < 2e-3 * plan.value
    alone = [solve_under(menu.take(city == g), [Spend(at_most=own[g])]).value for g in range(2)]
    by_city = np.bincount(city, menu.value[np.arange(menu.n), plan.treatment])
    assert (by_city[:2] <= np.array(alone) * (1 + 1e-3)).all()


def test_a_rule_about_nobody_binds_nobody_or_cannot_hold():
    menu, _ = problem()
    nobody = np.zeros(N, bool)
    plan = solve_under(menu, [Spend(at_most=0.3 * full(menu)), Count(treatment="a", units=nobody, at_most=0)])
    assert plan.rules[1].used == 0
    with pytest.raises(InfeasibleRules, match="of 0 units at least 1"):
        solve_under(menu, [Spend(at_most=0.3 * full(menu)), Count(treatment="a", units=nobody, at_least=1)])


def test_a_return_has_no_upper_limit():
    with pytest.raises(TypeError, match="at_most"):
        Return(at_least=1.0, at_most=2.0)


class Inequality(NamedTuple):
    """Σ over the covered units of amount[i, z_i], at least `low` and at most `high`: written without the package's rows."""

    amount: Any
    low: float
    high: float


def written_out(rule: Any, menu: Menu) -> list[Inequality]:
    m = menu.n_treatments
    amount = {
        Spend: lambda: menu.cost,
        Count: lambda: np.tile(np.isin(menu.treatments, rule.treatment), (menu.n, 1)).astype(float),
        Use: lambda: np.broadcast_to(rule.amount, (menu.n, m)),
        Return: lambda: menu.value - menu.value[:, :1] - rule.at_least * (menu.cost - menu.cost[:, :1]),
    }[type(rule)]()
    if isinstance(rule, Return):
        return [Inequality(amount, 0.0, np.inf)]
    codes = np.zeros(menu.n, int) if rule.by is None else rule.by
    codes = codes if rule.units is None else np.where(rule.units, codes, -1)
    count = 1 if rule.by is None else max(codes.max() + 1, *(np.size(b) for b in (rule.at_most, rule.at_least)))
    ends = [
        np.broadcast_to(missing if bound is None else bound, count)
        for bound, missing in ((rule.at_least, -np.inf), (rule.at_most, np.inf))
    ]
    return [Inequality(amount * (codes == g)[:, None], ends[0][g], ends[1][g]) for g in range(count)]


def feasible(menu: Menu, some: Sequence[Inequality]) -> bool:
    """Whether fractions of units can satisfy them all, by HiGHS."""
    n, m = menu.value.shape
    above = [one.amount.ravel() for one in some if one.high < np.inf] + [
        -one.amount.ravel() for one in some if one.low > -np.inf
    ]
    limits = [one.high for one in some if one.high < np.inf] + [-one.low for one in some if one.low > -np.inf]
    whole = sparse.kron(sparse.eye(n), np.ones((1, m)), format="csr")
    done = linprog(np.zeros(n * m), np.array(above), limits, whole, np.ones(n), (0, 1), method="highs")
    assert done.status in (0, 2)
    return bool(done.status == 0)


def random_rules(rng: np.random.Generator, menu: Menu) -> list[Any]:
    """Rules by group of every kind, about half of them too tight to hold together."""
    n, money = menu.n, full(menu)
    count = int(rng.integers(2, 6))
    city = rng.integers(-1, count, n)
    city[:count] = np.arange(count)
    size = np.bincount(city[city >= 0], minlength=count)
    kinds = [
        lambda: Spend(at_most=rng.uniform(0.1, 0.5) * money),
        lambda: Spend(by=city, at_most=(rng.uniform(0.05, 0.6, count) * money / count).tolist()),
        lambda: Spend(by=city, at_least=(rng.uniform(0.0, 0.5, count) * money / count).tolist()),
        lambda: Count(treatment="b", by=city, at_least=(rng.uniform(0.0, 0.5) * size).round().tolist()),
        lambda: Count(treatment=("a", "d"), by=city, at_most=(rng.uniform(0.1, 1.0) * size).round().tolist()),
        lambda: Count(treatment="c", at_least=float(rng.integers(0, n // 2)), units=rng.random(n) < 0.7),
        lambda: Use(amount=np.array([0, 1, 1, 2, 2.0]), by=city, at_most=rng.uniform(0.3, 1.5) * n / count),
        lambda: Return(at_least=rng.uniform(0.0, 1.5)),
    ]
    return [kinds[k]() for k in rng.choice(len(kinds), rng.integers(2, 5), replace=False)]


@pytest.mark.parametrize("seed", range(120))
def test_a_conflict_of_groups_is_refused_and_every_other_set_of_rules_is_planned(seed: int):
    menu, rng = problem(seed, 80)
    rules = random_rules(rng, menu)
    everything = [one for rule in rules for one in written_out(rule, menu)]
    try:
        plan = solve_under(menu, rules)
    except InfeasibleRules as error:
        if not error.proven:  # whole units only
            return
        assert not feasible(menu, everything)
        rows = {row.name: row for row in rows_of(rules, menu)}
        conflict = [rows[name] for name in error.rules]
        alone = [Inequality(row.sign * amounts_of(row, menu), -np.inf, row.limit) for row in conflict]
        assert not feasible(menu, alone)
        for one in alone:  # every one of them is needed
            assert len(alone) == 1 or feasible(menu, [other for other in alone if other is not one])
        return
    assert feasible(menu, everything)
    for one in everything:
        used = float(one.amount[np.arange(menu.n), plan.treatment].sum())
        assert one.low - 1e-9 <= used <= one.high + 1e-9


def amounts_of(row: Any, menu: Menu) -> Any:
    """The amounts of a row for all units, 0 where it covers none."""
    at = row.covered(np.arange(menu.n))
    table = np.zeros(menu.value.shape)
    table[at] = row.sign * row.amounts(menu, at)
    return table


def test_a_return_is_what_the_spend_adds():
    rng = np.random.default_rng(0)
    for _ in range(40):
        value, cost = rng.integers(0, 9, (6, 3)) / 2.0, np.sort(rng.integers(0, 6, (6, 3)), axis=1) / 1.0
        menu, floor = Menu(value=value, cost=cost, treatments=("none", "a", "b")), float(rng.uniform(0.2, 2))
        plans = np.array(list(product(range(3), repeat=6)))
        gain = (value - value[:, :1])[np.arange(6), plans].sum(1)
        more = (cost - cost[:, :1])[np.arange(6), plans].sum(1)
        best = gain[gain >= floor * more - 1e-9].max() + value[:, 0].sum()
        plan = solve_under(menu, [Return(at_least=floor)])
        assert plan.value <= best + 1e-9
        assert plan.bound >= best - 1e-9
        rows = np.arange(6)
        spent = (cost - cost[:, :1])[rows, plan.treatment].sum()
        assert (value - value[:, :1])[rows, plan.treatment].sum() >= floor * spent - 1e-9
        assert plan.rules[0].used == pytest.approx(plan.value - value[:, 0].sum() - floor * spent)


def test_groups_are_called_by_their_names():
    menu, rng = problem(3)
    codes = groups(rng)
    towns = ("Bonn", "Köln", "", "group 7")
    plan = solve_under(menu, [Spend(at_most=0.05 * full(menu), by=codes, groups=towns)])
    assert [bound.rule.partition(" at most")[0] for bound in plan.rules] == [f"spend of {town!r}" for town in towns]
    with pytest.raises(InfeasibleRules, match="units with 'a' of 'Köln' at least 400") as caught:
        solve_under(menu, [Count(treatment="a", at_least=[0, 400, 0, 0], by=codes, groups=towns)])
    assert len(caught.value.rules) == 1
    with pytest.raises(DataError, match=r"groups == \('Bonn',\): there are 4 groups"):
        solve_under(menu, [Spend(at_most=1.0, by=codes, groups=("Bonn",))])


@pytest.mark.parametrize("kind", ["cap", "floor"])
def test_many_treatments_do_not_make_large_programmes(kind: str, monkeypatch: pytest.MonkeyPatch):
    """With 64 treatments nearly all are far from the best for every unit."""
    rng, n, m = np.random.default_rng(0), 3000, 64
    cost, value = (np.sort(rng.gamma(2.0, 1.0, (n, m)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    menu = Menu(value=value * rng.random((n, 1)), cost=cost)
    rare = Count(treatment="40", at_least=200) if kind == "floor" else Count(treatment="63", at_most=20)
    sizes: list[int] = []
    solver = constrained.milp

    def recorded(objective: Any, **given: Any) -> Any:
        sizes.append(len(objective))
        return solver(objective, **given)

    monkeypatch.setattr(constrained, "milp", recorded)
    plan = solve_under(menu, [Spend(at_most=0.3 * full(menu)), rare])
    assert max(sizes) <= 12_100
    assert plan.gap <= 1e-5 * plan.value
    for bound, sign in zip(plan.rules, (1, -1 if kind == "floor" else 1), strict=True):
        assert sign * bound.used <= sign * bound.limit + 1e-9


def test_where_the_treatments_near_the_best_do_not_suffice_all_are_tried(monkeypatch: pytest.MonkeyPatch):
    menu, rng = problem(5)
    rules = RULES["three resources"](menu, rng)
    plan = solve_under(menu, rules)
    monkeypatch.setattr(constrained, "_OPEN", ((2, 1), (2_000, 1 << 62)))
    assert solve_under(menu, rules).value == pytest.approx(plan.value, rel=1e-3)


def test_the_plan_is_the_same_for_any_number_of_threads():
    rng = np.random.default_rng(5)
    n = 150_000  # several parts of the dual
    value, cost = rng.gamma(1.0, 1.0, (n, 3)), rng.gamma(1.0, 1.0, (n, 3))
    value[:, 0] = cost[:, 0] = 0.0
    menu = Menu(value=value, cost=cost)
    rules = [
        Spend(at_most=0.2 * n, by=rng.integers(0, 3, n)),
        Count(treatment="2", at_most=0.1 * n),
    ]
    one, several = (solve_under(menu, rules, n_threads=threads) for threads in (1, 4))
    np.testing.assert_array_equal(one.treatment, several.treatment)
    assert (one.bound, one.value, one.price) == (several.bound, several.value, several.price)
