"""Recalibration per arm: lines with their errors, and how far what arms show is believed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from largesse.logs import Logs
from largesse.models.families import BERNOULLI, FAMILIES
from largesse.models.two_stage.calibrated import fit_line, fit_lines, shrunk

LINKS = tuple(FAMILIES[name] for name in ("bernoulli", "poisson", "gaussian"))


def drawn(family: str, eta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Outcomes whose mean has a link of `eta`; counts come in fives, so that they spread more than their family says."""
    if family is BERNOULLI:
        return (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float)
    return 5.0 * rng.poisson(np.exp(eta) / 5) if family.name == "poisson" else eta + 3 * rng.normal(size=len(eta))


@pytest.mark.parametrize("family", LINKS, ids=lambda family: family.name)
def test_the_error_of_a_line_is_how_far_it_varies(family: str):
    rng, found, told = np.random.default_rng(0), [], []
    for _ in range(400):
        link = rng.normal(size=2000) - 1
        weight = np.where(link > -1, 3.0, 0.5)  # rows of one side stand for more units
        line = fit_line(family, link, drawn(family, 0.3 + 0.8 * link, rng), weight)
        at, covariance = line.about(0.0)
        found.append(at)
        told.append(covariance * line.dispersion)
    own = np.cov(np.array(found).T)
    assert_allclose(np.mean(told, axis=0), own, atol=0.25 * np.diag(own).max())


@pytest.mark.parametrize("family", LINKS[1:], ids=lambda family: family.name)
@pytest.mark.parametrize("factor", [1e-4, 100.0, 1e6])
def test_lines_do_not_depend_on_the_currency(family: str, factor: float):
    rng = np.random.default_rng(1)
    arm, mean = rng.integers(0, 3, 3000), np.exp(rng.normal(size=(3000, 3)) / 2)
    y = mean[np.arange(3000), arm] * rng.exponential(1 + 0.2 * arm)
    rct = Logs(x=np.zeros((3000, 1)), treatment=arm, value=y, cost=0.0 * y)
    small, large = fit_lines(family, mean, rct, y), fit_lines(family, factor * mean, rct, factor * y)
    assert_allclose(large[:, 1], small[:, 1], rtol=1e-5)
    at = family.link(factor * mean[:, 0])
    then = small[0, 0] + small[0, 1] * family.link(mean[:, 0])
    now = large[0, 0] + large[0, 1] * at
    assert_allclose(now, then + np.log(factor) if family.name == "poisson" else factor * then, rtol=1e-5, atol=1e-9)


SURE = {  # models that are far too sure: spread of their logits, their centre, and the chance of an order
    "steep": (3.0, -3.0, 0.05), "steeper": (4.0, 0.0, 0.5), "all or nothing": (0.0, 0.0, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", SURE)
@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_is_far_too_sure_is_brought_to_the_mean(name: str, seed: int):
    spread, centre, chance = SURE[name]
    rng = np.random.default_rng(seed)
    link = centre + spread * rng.normal(size=3000)
    if name == "all or nothing":
        link = BERNOULLI.link(np.where(rng.random(3000) < 0.5, 0.0, rng.random(3000)))
    order = (rng.random(3000) < chance).astype(float)
    line = fit_line(BERNOULLI, link, order, np.ones(3000))
    assert abs(line.estimate[1]) < 0.15
    assert_allclose(
        BERNOULLI.mean(line.estimate[0] + line.estimate[1] * (link - line.centre)).mean(), order.mean(), rtol=0.05
    )


def dense(found: np.ndarray, covariance: np.ndarray, grid: list[np.ndarray]) -> np.ndarray:
    """The same posterior mean, from the whole covariance of all groups at once."""
    k = len(found)
    noise = np.zeros((2 * k, 2 * k))
    for i in range(k):
        noise[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = covariance[i]
    logs, means = [], []
    for own, shared in itertools.product(itertools.product(*grid), repeat=2):
        prior = np.kron(np.eye(k), np.diag(np.square(own))) + np.kron(np.ones((k, k)), np.diag(np.square(shared)))
        pulled = np.linalg.solve(prior + noise, found.ravel())
        logs.append(-(np.linalg.slogdet(prior + noise)[1] + found.ravel() @ pulled) / 2)
        means.append(prior @ pulled)
    chance = np.exp(np.array(logs) - max(logs))
    return (chance @ np.array(means) / chance.sum()).reshape(k, 2)


class TestShrunk:
    def test_it_is_the_posterior_mean_over_the_grid(self):
        rng = np.random.default_rng(2)
        root = rng.normal(size=(3, 2, 2)) * [[[1.0], [0.3]]]
        covariance = root @ root.transpose(0, 2, 1) + 0.01 * np.eye(2)
        found = rng.normal(size=(3, 2))
        error = np.sqrt(np.einsum("kii->ik", covariance))
        grid = [np.append(0.0, np.geomspace(e.min() / 2, 16 * e.max(), 8)) for e in error]
        assert_allclose(shrunk(found, covariance), dense(found, covariance, grid), rtol=1e-8, atol=1e-12)

    @pytest.mark.parametrize("arms", [1, 2, 8])
    @pytest.mark.parametrize(
        ("own", "common", "most"), [(0, 0, 0.7), (0, 3, 0.8), (1, 0, 0.9), (3, 0, 1.1), (30, 9, 1.05)]
    )
    def test_its_error_is_below_that_of_the_findings(self, arms: int, own: float, common: float, most: float):
        rng, lost = np.random.default_rng(3), np.zeros(2)
        for _ in range(400):
            truth = own * rng.normal(size=(arms, 2)) + common * rng.normal(size=2)
            found = truth + rng.normal(size=(arms, 2))
            answer = shrunk(found, np.broadcast_to(np.eye(2), (arms, 2, 2)))
            lost += np.mean((answer - truth) ** 2), np.mean((found - truth) ** 2)
        limit = most if arms > 1 or not common else 1.1  # of one arm alone what is shared is its own
        assert lost[0] < limit * lost[1]

    def test_what_is_sure_stays(self):
        found = np.array([[0.5, -0.2], [-1.0, 0.3]])
        for size in (1e-8, 1e-40, 1e-80):
            assert_allclose(shrunk(found, np.tile(size * np.eye(2), (2, 1, 1))), found, rtol=1e-3)

    @pytest.mark.parametrize("unit", [(1e-9, 1.0), (1e9, 1.0), (1.0, 1e7)])
    def test_units_do_not_matter(self, unit: tuple[float, float]):
        rng = np.random.default_rng(6)
        root = rng.normal(size=(4, 2, 2))
        covariance, found = root @ root.transpose(0, 2, 1) + np.eye(2), 2 * rng.normal(size=(4, 2))
        answer = shrunk(found * unit, covariance * np.outer(unit, unit))
        assert_allclose(answer, shrunk(found, covariance) * unit, rtol=1e-9)

    def test_a_sure_arm_is_not_moved_by_unsure_ones(self):
        found = np.array([[0.5, -0.2], [5.0, 4.0], [-4.0, 6.0]])
        covariance = np.array([1e-6, 25.0, 25.0])[:, None, None] * np.eye(2)
        answer = shrunk(found, covariance)
        assert_allclose(answer[0], found[0], rtol=0.01)
        assert np.abs(answer[1:]).max() < 3


def trial(rows: int, shift: tuple[float, ...], rng: np.random.Generator) -> tuple[Logs, np.ndarray]:
    """A trial of orders, and what a model says that is off by `shift` in each arm's logit."""
    arm = rng.integers(0, len(shift), rows)
    link = rng.normal(size=(rows, len(shift))) - 4.5
    order = drawn(BERNOULLI, (link + shift)[np.arange(rows), arm], rng)
    logs = Logs(x=np.zeros((rows, 1)), treatment=arm, value=order, cost=0.5 * arm * order)
    return logs, 1 / (1 + np.exp(-link))


def test_lines_of_rare_orders_are_nearly_the_model_where_it_is_right():
    rng, moved = np.random.default_rng(4), []
    for _ in range(20):
        logs, table = trial(8000, (0.0, 0.0, 0.0), rng)
        alone = [fit_line(BERNOULLI, BERNOULLI.link(table[r, j]), logs.value[r], np.ones(r.sum()))
                 for j in range(3) for r in [logs.treatment == j]]  # fmt: skip
        lines = fit_lines(BERNOULLI, table, logs, logs.value)
        level = lines[:, 0] + lines[:, 1] * -4.5 + 4.5
        moved.append((np.std(level), np.std([line.about(-4.5)[0][0] for line in alone])))
    own, unshrunk = np.mean(moved, axis=0)
    assert own < unshrunk / 3  # differences between arms are what decides


def test_lines_of_rare_orders_follow_a_model_that_is_far_off():
    logs, table = trial(100_000, (0.0, 1.0, -0.5), np.random.default_rng(5))
    lines = fit_lines(BERNOULLI, table, logs, logs.value)
    assert_allclose(lines[:, 0] + lines[:, 1] * -4.5 + 4.5, [0.0, 1.0, -0.5], atol=0.15)


def test_a_calibration_without_rows_to_speak_of_changes_nothing():
    rct = Logs(x=np.zeros((3, 1)), treatment=[0, 1, 1], value=[0.0, 1.0, 1.0], cost=[0.0] * 3)
    lines = fit_lines(BERNOULLI, np.array([[0.3, 0.3], [0.4, 0.5], [0.4, 0.7]]), rct, rct.value)
    assert_allclose(lines, [[0, 1], [0, 1]], atol=0.3)


def test_an_arm_without_an_order_by_chance_follows_the_others():
    rng = np.random.default_rng(7)
    arm = np.repeat([0, 1, 2], [4000, 4000, 30])
    link = rng.normal(size=(len(arm), 3)) - 2
    order = drawn(BERNOULLI, link[np.arange(len(arm)), arm] - 1.5, rng)
    order[arm == 2] = 0.0
    rct = Logs(x=np.zeros((len(arm), 1)), treatment=arm, value=order, cost=0.0 * order)
    lines = fit_lines(BERNOULLI, 1 / (1 + np.exp(-link)), rct, order)
    assert lines[2, 0] - 2 * lines[2, 1] + 2 < -1


@pytest.mark.parametrize("family", LINKS[:2], ids=lambda family: family.name)
def test_costs_of_control_that_are_nothing_take_no_part(family: str):
    rng = np.random.default_rng(8)
    arm, link = rng.integers(0, 4, 20_000), rng.normal(size=(20_000, 4)) - 1
    table = family.mean(link)
    table[:, 0] = 0.0
    cost = drawn(family, link[np.arange(20_000), arm] + 0.4, rng) * (arm > 0)
    with_it = Logs(x=np.zeros((20_000, 1)), treatment=arm, value=cost, cost=cost)
    paid = arm > 0
    without = Logs(x=np.zeros((paid.sum(), 1)), treatment=arm[paid] - 1, value=cost[paid], cost=0 * cost[paid])
    lines = fit_lines(family, table, with_it, cost)
    assert_allclose(lines[0], [0, 1])
    assert_allclose(lines[1:], fit_lines(family, table[paid, 1:], without, cost[paid]), rtol=1e-3)
    assert_allclose(lines[1:] @ [1, -1], [-0.6] * 3, atol=0.15)


def test_a_model_that_says_one_number_for_each_arm():
    rng = np.random.default_rng(9)
    for rows in (3000, 300_000):
        arm, table = rng.integers(0, 3, rows), np.tile([1000.0, 2000.0, 3000.0], (rows, 1))
        y = 1.01 * table[0][arm] + rng.normal(size=rows)
        rct = Logs(x=np.zeros((rows, 1)), treatment=arm, value=y, cost=0.0 * y)
        lines = fit_lines(FAMILIES["gaussian"], table, rct, y)
        assert_allclose(lines[:, 0] + lines[:, 1] * table[0], 1.01 * table[0], rtol=1e-3)


def test_arms_whose_costs_spread_differently():
    """Costs are face values or nothing, so their spread for their mean is the face value."""
    rng, lost = np.random.default_rng(10), np.zeros(3)
    face = np.array([1.0, 5.0, 20.0])
    for _ in range(60):
        arm, link, off = rng.integers(0, 3, 6000), rng.normal(size=(6000, 3)) / 2 - 2, 0.15 * rng.normal(size=3)
        p = np.minimum(np.exp(link + off)[np.arange(6000), arm], 1)
        cost = face[arm] * (rng.random(6000) < p)
        rct = Logs(x=np.zeros((6000, 1)), treatment=arm, value=cost, cost=0 * cost)
        lines = fit_lines(FAMILIES["poisson"], face * np.exp(link), rct, cost)
        at = np.log(face) - 2
        lost += (lines[:, 0] + lines[:, 1] * at - at - off) ** 2
    assert (np.sqrt(lost / 60) < 0.065).all()  # with one spread for all, the cheap arm is off by .08


@pytest.mark.parametrize("family", LINKS, ids=lambda family: family.name)
def test_a_constant_outcome_that_is_foreseen_changes_nothing(family: str):
    ones = np.ones(40)
    rct = Logs(x=np.zeros((40, 1)), treatment=np.arange(40) % 2, value=ones, cost=0.0 * ones)
    table = np.full((40, 2), 1 - 1e-9 if family is BERNOULLI else 1.0)
    lines = fit_lines(family, table, rct, rct.value)
    assert np.isfinite(lines).all()
    assert_allclose(family.mean(lines[:, 0] + lines[:, 1] * family.link(table[0])), table[0], atol=1e-3)
