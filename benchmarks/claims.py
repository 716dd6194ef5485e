"""Figures that the documentation relies on, each by simulation; writes docs/benchmarks/claims.md.

python -m benchmarks claims                    # all parts
python -m benchmarks claims --part luck        # one of them; the others stay
python -m benchmarks claims --table            # the page of what was measured
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.cells import PAGES, load, machine, mean_sd, store, write
from largesse import simulate
from largesse.allocate import frontier
from largesse.evaluate import outcome_curve
from largesse.evaluate.truth import attainable_gain, true_value
from largesse.evaluate.untargeted import mix_value
from largesse.menu import BUDGET_SHARES
from largesse.models import DFCL, MLP, PPL, Schedule
from largesse.models.selection import allowance, choose

UNITS, SEEDS = 50_000, 3
TRIES, ROWS, DRAWS = 400, 400, 400
TRIAL, EPOCHS = 200_000, (1, 4, 16)
EXACT, LONG = 30_000, Schedule(epochs=16, batch=8192, rate=1e-3, decay=0.0, average=0.5, least=50)


def room() -> dict[str, list[list[float]]]:
    """What the best policy gains over the best mix of arms, by world and seed, at every budget."""
    found: dict[str, list[list[float]]] = {}
    for name in ("money_off", "discount", "criteo_twin"):
        for seed in range(SEEDS):
            world = getattr(simulate, name)(seed=seed)
            truth = world.truth(world.rct(UNITS, seed=3).x)
            value, cost = truth.value.mean(0), truth.cost.mean(0)
            budgets = cost.min() + np.array(BUDGET_SHARES) * (cost.max() - cost.min())
            mix = mix_value(value, cost, budgets)
            share = 100 * (frontier(truth).value_at(budgets * truth.n) / truth.n - mix) / (mix - value[0])
            found.setdefault(name, []).append(share.tolist())
    return found


def room_page(cell: dict[str, list[list[float]]]) -> list[str]:
    lines = [
        "## What targeting can gain at all", "",
        "The plan on the true conditional means less the best mix of whole-population arms, as a share of that mix less",
        f"control, in percent; {SEEDS} worlds of each kind, {UNITS:,} units. Budgets are shares of the way from the cheapest arm",
        "to the dearest.", "", "| world | 10 % | 25 % | 50 % | 75 % |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, shares in cell.items():
        ends = zip(np.min(shares, 0), np.max(shares, 0), strict=True)
        lines.append(f"| {name.replace('_', '-')} | {' | '.join(f'{low:.0f} to {high:.0f}' for low, high in ends)} |")
    return lines


def luck() -> dict[str, list[float]]:
    """How often the default stays where all candidates are worth the same, by the number of candidates and the rule."""
    rng, found = np.random.default_rng(0), {}
    for many in (2, 6, 21, 41):
        kept = np.zeros(2)
        for _ in range(TRIES):
            rows = rng.normal(size=(ROWS, many))
            weight = rng.poisson(1.0, (DRAWS, ROWS))
            score, drawn = rows.mean(0), weight @ rows / weight.sum(1, keepdims=True)
            names = [str(k) for k in range(many)]
            for k, errors in enumerate((1.0, allowance(score, drawn))):
                kept[k] += choose(names, score[:, None], drawn[:, :, None], standard_errors=errors).name == "0"
        found[str(many)] = (100 * kept / TRIES).tolist()
    return found


def luck_page(cell: dict[str, list[float]]) -> list[str]:
    return [
        "## The luckiest of many", "",
        f"Candidates whose rows have the same mean: {ROWS} normal rows each, {TRIES} times, {DRAWS} bootstrap draws. How often",
        "the choice is the default (the first), in percent.", "",
        "| candidates | one standard error | as many as luck takes |", "|---|---|---|",
        *(f"| {many} | {one:.0f} | {other:.0f} |" for many, (one, other) in cell.items()),
    ]  # fmt: skip


def noise() -> list[list[list[float]]]:
    """What longer tuning changes on the training rows, and in truth, by seed and epochs, in thousandths per head."""
    change = np.zeros((SEEDS, len(EPOCHS), 2))
    for seed in range(SEEDS):
        world = simulate.money_off(seed=seed, n_features=40)
        rct, x = world.rct(TRIAL, seed=1), world.rct(UNITS, seed=3).x
        truth = world.truth(x)
        model = DFCL(MLP(members=1, hidden=(), seed=seed), shrinkage_weight=1.0, seed=seed)
        start = model.prepare(rct)

        def worth(menu_of, rct=rct, x=x, truth=truth):
            budgets = np.array(BUDGET_SHARES) * truth.cost.mean(0).max()
            trained = outcome_curve(rct, menu_of(rct.x)).value_at(budgets)
            return 1e3 * np.array([trained.mean(), true_value(menu_of(x), truth, budgets).mean()])

        before = worth(start.base.predict)
        for k, epochs in enumerate(EPOCHS):
            schedule = Schedule(epochs=epochs, batch=8192, rate=3e-3, decay=0.0, average=0.5, least=1)
            change[seed, k] = worth(model.set_params(schedule=schedule).learn_from(start, rct).predict) - before
    return change.tolist()


def noise_page(cell: list[list[list[float]]]) -> list[str]:
    change = np.array(cell)
    lines = [
        "## Why a decision loss does not gain: noise", "",
        f"Money-off, 40 features, {TRIAL:,} trial rows, a linear index per arm (no interactions), budget-aware PPL taken whole,",
        "rate .003. Change of value per head against the two stages, mean of four budgets, in thousandths; mean ± sd over",
        f"{SEEDS} worlds. On the training rows by the outcome curve, in truth on {UNITS:,} fresh units.", "",
        "| epochs of tuning | on the training rows | in truth |", "|---|---|---|",
    ]  # fmt: skip
    for k, epochs in enumerate(EPOCHS):
        lines.append(f"| {epochs} | {mean_sd(change[:, k, 0])} | {mean_sd(change[:, k, 1])} |")
    return lines


WAYS = ("two stages", "tuned on the trial", "tuned on exact means", "the published objective on exact means")


def noiseless() -> dict[str, list[list[float]]]:
    """What the same tuning does where every unit shows the exact mean of every treatment: gains by network, seed and way."""
    nets = {
        "no interactions: a linear index per arm": lambda seed: MLP(members=1, hidden=(), seed=seed),
        "squared error, free heads": lambda seed: MLP.published(data="rct", seed=seed),
        "likelihood, cost rule": lambda seed: MLP(members=1, seed=seed),
    }
    return {words: [_without_noise(net(seed), seed) for seed in range(SEEDS)] for words, net in nets.items()}


def noiseless_page(cell: dict[str, list[list[float]]]) -> list[str]:
    return [
        "## And without noise", "",
        f"Money-off, 40 features, two stages learned on {TRIAL:,} trial rows, PPL taken whole. Tuned on the same trial",
        f"(default schedule), and on the exact mean of every treatment for {EXACT:,} units ({LONG.epochs} epochs): no noise, all",
        "else alike. *Published*: money spent not counted. Attainable gain in percent, mean of four budgets,",
        f"{UNITS:,} fresh units; mean ± sd over {SEEDS} worlds.", "",
        f"| network | {' | '.join(WAYS)} |", "|---" * (1 + len(WAYS)) + "|",
        *(f"| {words} | {' | '.join(mean_sd(100 * c) for c in np.array(gains).T)} |" for words, gains in cell.items()),
    ]  # fmt: skip


def _without_noise(base: MLP, seed: int) -> list[float]:
    world = simulate.money_off(seed=seed, n_features=40)
    rct, x, units = world.rct(TRIAL, seed=1), world.rct(UNITS, seed=3).x, world.rct(EXACT, seed=7).x
    truth, means = world.truth(x), world.truth(units)
    budgets = np.array(BUDGET_SHARES) * truth.cost.mean(0).max()
    n, m = means.value.shape
    exact = replace(
        rct, x=np.repeat(units, m, axis=0), treatment=np.tile(np.arange(m), n), value=np.ravel(means.value).astype(float),
        cost=np.ravel(means.cost).astype(float), propensity=np.full(n * m, 1 / m),
    )  # fmt: skip
    model = DFCL(base, shrinkage_weight=1.0, seed=seed)
    start = model.prepare(rct)
    tuned = [start.base.predict(x), model.learn_from(start, rct).predict(x)]
    for decision in (PPL(), PPL.published()):
        tuned.append(model.set_params(schedule=LONG, decision=decision).learn_from(start, exact).predict(x))
    return [float(attainable_gain(menu, truth, budgets).mean()) for menu in tuned]


PARTS = {"room": (room, room_page), "luck": (luck, luck_page), "noise": (noise, noise_page),
         "noiseless": (noiseless, noiseless_page)}  # fmt: skip


def page(cell: dict[str, Any]) -> list[str]:
    """Returns the lines of the page: the parts that are there."""
    lines = ["# Figures behind the documentation", "", "Generated by `python -m benchmarks claims`; do not edit."]
    for part, (_, lines_of) in PARTS.items():
        if part in cell:
            lines += ["", *lines_of(cell[part])]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the page of what is there")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; repeat for several")
    said, place = parser.parse_args(), PAGES / "claims.json"
    for part in () if said.table else said.part or PARTS:
        store(place, load(place) | machine() | {part: PARTS[part][0]()})
    write("claims", page(load(place)))
