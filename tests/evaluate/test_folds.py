"""The menus of folds as one: each fold spends the same, decides as its own menu does, and no fold pays for another's luck."""

from __future__ import annotations

import numpy as np
import pytest

from largesse import Logs, Menu, outcome_curve
from largesse.allocate import assign
from largesse.errors import DataError
from largesse.evaluate.folds import in_step


def menus_of(seed: int, folds: int = 3, n: int = 60, m: int = 4, ties: bool = False) -> list[Menu]:
    """Menus on different scales, as models trained on different rows predict; arms that are no bargain among them."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(folds):
        value, cost = rng.normal(size=(n + k, m)), rng.exponential(size=(n + k, m))
        cost[:, 0] = 0.0
        if ties:
            value, cost = np.round(value), np.ceil(cost)
            cost[:, 0] = 0.0
        out.append(Menu(value=value * (1 + k), cost=cost, treatments=("none", "a", "b", "c")))
    return out


def spends(menus: list[Menu], joined: Menu, price: float) -> list[float]:
    """Spend per unit of each fold, by its own menu, of the decisions at a price of the joined menu."""
    taken = assign(joined, price)
    ends = np.cumsum([menu.n for menu in menus])
    parts = np.split(taken, ends[:-1])
    return [float(menu.cost[np.arange(menu.n), part].mean()) for menu, part in zip(menus, parts, strict=True)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
def test_a_fold_decides_as_its_own_menu_does_at_some_price(seed, ties):
    menus = menus_of(seed, ties=ties)
    joined = in_step(menus)
    for price in (0.0, 0.05, 0.2, 0.7, 1.5, 4.0, 50.0):
        parts = np.split(assign(joined, price), np.cumsum([menu.n for menu in menus])[:-1])
        for menu, part in zip(menus, parts, strict=True):
            own = np.unique(np.append(0.0, hull_slopes(menu)))
            between = np.concatenate([own, (own[1:] + own[:-1]) / 2, [own[-1] + 1]])
            assert any((assign(menu, at) == part).all() for at in between)


def hull_slopes(menu: Menu) -> np.ndarray:
    """Every price at which a decision may change: the slopes between all pairs of treatments."""
    slopes = []
    for i in range(menu.n_treatments):
        for j in range(menu.n_treatments):
            dearer = menu.cost[:, j] > menu.cost[:, i]
            slopes.append((menu.value[:, j] - menu.value[:, i])[dearer] / (menu.cost[:, j] - menu.cost[:, i])[dearer])
    found = np.concatenate(slopes)
    return found[found > 0]


@pytest.mark.parametrize("seed", range(8))
def test_all_folds_spend_the_same_within_one_increment(seed):
    menus = menus_of(seed, n=200)
    joined = in_step(menus)
    largest = max(float(menu.cost.max()) / menu.n for menu in menus)
    most = min(spends(menus, joined, 0.0))
    for price in (0.05, 0.2, 0.5, 1.0, 2.0):
        spent = spends(menus, joined, price)
        if max(spent) < most:
            assert max(spent) - min(spent) <= 2 * largest


def test_at_a_price_of_zero_every_fold_buys_all_that_it_wants():
    menus = menus_of(3)
    want = np.concatenate([assign(menu, 0.0) for menu in menus])
    assert (assign(in_step(menus), 0.0) == want).all()


def test_weights_are_rows():
    menus = menus_of(5, folds=2, n=40)
    copies = [np.arange(menu.n) % 3 for menu in menus]
    repeated = [menu.take(np.repeat(np.arange(menu.n), w)) for menu, w in zip(menus, copies, strict=True)]
    weighted, full = in_step(menus, [w.astype(float) for w in copies]), in_step(repeated)
    chosen = np.repeat(np.arange(weighted.n), np.concatenate(copies))
    for price in (0.0, 0.1, 0.5, 1.0, 3.0):
        assert (assign(weighted, price)[chosen] == assign(full, price)).all()


def test_one_fold_stays_as_it_is():
    (menu,) = menus_of(0, folds=1)
    assert in_step([menu]) is menu


def test_menus_in_which_nothing_is_worth_buying_join():
    idle = Menu(value=np.zeros((5, 2)), cost=np.array([[0.0, 1.0]] * 5))
    busy = Menu(value=np.array([[0.0, 2.0]] * 5), cost=np.array([[0.0, 1.0]] * 5))
    joined = in_step([idle, busy])
    assert assign(joined, 0.0).tolist() == [0] * 5 + [1] * 5
    assert assign(joined, 1.01).tolist() == [0] * 10  # half of the price of 2, since one fold has nothing to buy


def test_what_cannot_be_joined_is_refused():
    menu = Menu(value=np.zeros((2, 2)), cost=np.zeros((2, 2)))
    for menus in ([], [menu, Menu(value=np.zeros((2, 2)), cost=np.zeros((2, 2)), treatments=("a", "b"))]):
        with pytest.raises(DataError, match="menus of the same treatments"):
            in_step(menus)


def shifts(trials: int, segments: int = 8, noise: float = 1e-3) -> tuple[float, float]:
    """Mean over trials without effect of the value above giving nothing, in standard errors: joined as given, and in step."""
    found = []
    for seed in range(trials):
        rng = np.random.default_rng([seed, 41])
        n, folds = 2000, 5
        segment, arm, fold = rng.integers(0, segments, n), rng.integers(0, 2, n), rng.permutation(n) % folds
        y = rng.exponential(size=n)
        order = np.argsort(fold, kind="stable")
        logs = Logs(
            x=segment[order, None],
            treatment=arm[order],
            value=y[order],
            cost=arm[order].astype(float),
            propensity="uniform",
        )
        menus = []
        for k in range(folds):
            means = np.array(
                [[y[(fold != k) & (segment == s) & (arm == j)].mean() for j in (0, 1)] for s in range(segments)]
            )
            value = means[segment[fold == k]] + np.array([0.0, noise]) * rng.random((int((fold == k).sum()), 1))
            menus.append(Menu(value=value, cost=np.tile([0.0, 1.0], (len(value), 1))))
        plain = Menu(value=np.concatenate([m.value for m in menus]), cost=np.concatenate([m.cost for m in menus]))
        values = [outcome_curve(logs, menu).value_at(0.2) for menu in (plain, in_step(menus))]
        found.append(np.array(values) - 2 * (y * (arm == 0)).mean())
    table = np.array(found)
    return tuple((table.mean(axis=0) / table.std(axis=0)).tolist())


@pytest.mark.parametrize("noise", [0.001, 0.0])
def test_a_cross_fitted_policy_of_no_effect_is_worth_nothing(noise):
    """With noise no two predictions are alike; without, each fold has few different ones."""
    plain, in_steps = shifts(300, noise=noise)
    assert plain < -0.2  # what one price for all folds does
    assert abs(in_steps) < 3 / np.sqrt(300)


def test_what_remains_where_nothing_pays_in_some_folds():
    """Two segments: a fold that predicts no gain buys nothing, the others spend its share. A fifth of the error stays."""
    plain, in_steps = shifts(300, segments=2)
    assert plain < -0.6
    assert abs(in_steps) < 0.25 * abs(plain)


def test_the_price_is_the_mean_over_units_not_over_folds():
    """100 units at 1 per unit of spend and 300 at 3: (100 · 1 + 300 · 3) / 400 = 2.5, whichever fold they are in."""
    menus = [
        Menu(value=np.tile([0.0, slope], (n, 1)), cost=np.tile([0.0, 1.0], (n, 1)))
        for n, slope in ((100, 1.0), (300, 3.0))
    ]
    joined = in_step(menus)
    np.testing.assert_allclose(joined.value[:, 1] - joined.value[:, 0], 2.5, rtol=1e-12)
