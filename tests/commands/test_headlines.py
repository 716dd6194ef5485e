"""Twelve campaigns from file to report: the headline says what is true of each, and can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.fit import fit
from largesse.config import load


class Campaign(NamedTuple):
    """Arms with what a unit that reacts brings more, what each costs, what an order earns; how the headline begins."""

    gain: tuple[float, ...]
    cost: tuple[float, ...]
    earns: float
    begins: str
    scale: float = 1.0
    base: float = 0.2
    targets: bool = True  # half of the units react


TARGETED = "Spend .*, targeted|Give everybody what pays by the model"
CAMPAIGNS = {
    "targeting pays": Campaign((0, 0.3, 0.35), (0, 1, 2), 6.0, TARGETED),
    "the dearest arm is the worst": Campaign((0, 0.3, -0.1), (0, 1, 2), 6.0, TARGETED),
    "the dearest arm does nothing": Campaign((0, 0.3, 0.0), (0, 1, 2), 6.0, TARGETED),
    "everyone reacts alike": Campaign(
        (0, 0.3, 0.35), (0, 1, 2), 9.0, "Spend .*targeted|Give everybody '[12]'", targets=False
    ),
    "nothing works": Campaign((0, 0.0, 0.0), (0, 1, 2), 4.0, "Spend nothing"),
    "it works, and costs more": Campaign((0, 0.3, 0.35), (0, 1, 2), 0.5, "Spend nothing: every budget costs more"),
    "control costs money": Campaign((0, 0.3, 0.35), (0.5, 1.5, 2.5), 6.0, TARGETED),
    "amounts in cents": Campaign((0, 0.3, 0.35), (0, 1, 2), 6.0, TARGETED, scale=100.0),
    "amounts in millions": Campaign((0, 0.3, 0.35), (0, 1, 2), 6.0, TARGETED, scale=1e6),
    "tiny amounts": Campaign((0, 0.3, 0.35), (0, 1, 2), 6.0, TARGETED, scale=1e-4),
    "two arms": Campaign((0, 0.3), (0, 1), 6.0, TARGETED),
    "few orders": Campaign(
        (0, 0.01, 0.01), (0, 1, 2), 60.0, "Spend nothing|None of these|Spend .*targeted|Give everybody", base=0.01
    ),
}
TEXT = """
[data]
rct = "trial.parquet"
folds = 2
[columns]
treatment = "arm"
value = "orders"
cost = "spent"
[design]
rct_propensity = "uniform"
control_cost = {control}
[outcome]
value_per_unit = {earns}
[model]
candidates = ["lightgbm-rct"]
settings.lightgbm-rct = {{rounds = 60}}
[budget]
shares = [0.2, 0.4, 0.7]
[run]
draws = 40
[report]
value_unit = "orders"
money_unit = "EUR"
head = "user"
"""


def rows(one: Campaign, n: int = 6000) -> pa.Table:
    rng = np.random.default_rng(11)
    x, arm = rng.random((n, 2)), rng.integers(0, len(one.gain), n)
    reacts = (x[:, 0] > 0.5) | (not one.targets)
    order = (rng.random(n) < one.base + np.array(one.gain)[arm] * reacts) * 1.0
    return pa.table({"a": x[:, 0], "b": x[:, 1], "arm": arm.astype(str), "orders": order,
                     "spent": np.array(one.cost)[arm] * one.scale})  # fmt: skip


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_the_headline_is_true_and_can_be_read(name: str, tmp_path: Path):
    one = CAMPAIGNS[name]
    table = rows(one)
    frames.write(table, tmp_path / "trial.parquet")
    m = one.earns * one.scale
    (tmp_path / "c.toml").write_text(TEXT.format(earns=m, control=str(one.cost[0] > 0).lower()))
    done = fit(load(tmp_path / "c.toml"), folder=tmp_path / "run")
    head = done.results.headline
    assert re.match(one.begins, head.sentence), head.sentence
    for words in (head.sentence, *head.summary, head.action):
        assert not re.search(r"\bnan\b|\binf\b|∞|None\b(?! of)|\de[+-]\d|out of reach|0\.00000", words), words

    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    arm, orders, spent = (table[c].to_numpy() for c in ("arm", "orders", "spent"))
    k = len(one.gain)
    idle_value, idle_cost = (k * y[arm == "0"].sum() / len(arm) for y in (orders, spent))
    values = {(r["name"], r["budget"]): (r["value"], r["spend"]) for r in metrics["rows"]}
    for row in metrics["returns"]["rows"]:
        value, spend = values[row["name"], row["budget"]]
        net = m * (value - idle_value) - (spend - idle_cost)
        assert row["net"] == pytest.approx(net, rel=1e-9, abs=1e-9 * m)
        assert row["net_low"] < row["net"] < row["net_high"] or row["spend"] == pytest.approx(0)
    paying, free = [v for v in metrics["verdicts"] if v.startswith("spend this")], metrics["without_a_budget"]
    spends = bool(paying) or (free["verdict"] or "").startswith("spend this")
    assert spends is head.sentence.startswith(("Spend ", "Give ")) or head.sentence.startswith("Spend nothing")
    assert free["leads"] is ("without a budget" in head.sentence or "Without one" in head.sentence)
    own, mix = ([r for r in metrics["returns"]["rows"] if r["name"] == who] for who in ("policy", "best mix of arms"))
    if paying:
        chosen = {"spend this, targeted": own, "spend this, untargeted": mix}
        nets = {
            r["budget"]: chosen[v][b]["net"]
            for b, (r, v) in enumerate(zip(own, metrics["verdicts"], strict=True))
            if v in chosen
        }
    else:
        nets = {r["budget"]: r["net_low"] for r in own}
    assert metrics["lead"]["budget"] == max(nets, key=lambda budget: nets[budget])
    if free["leads"] and spends:
        proof = frames.read(tmp_path / "run" / "proof.parquet")
        given = proof["decision_without_budget"].to_numpy().astype(int)
        net = free["net"]
        if free["verdict"] == "spend this, untargeted":
            given, net = np.full(len(given), int(free["untargeted"]["treatment"])), free["untargeted"]["net"]
        assert net > max(nets.values(), default=0) or not paying
        share = 0.5 if one.targets else 1.0  # of the units react, whatever the policy believes
        gain = one.earns * np.array(one.gain)[given].mean() * share - (np.array(one.cost)[given] - one.cost[0]).mean()
        assert (
            gain * one.scale > 0 or free["verdict"] == "spend this, targeted"
        )  # a policy treats more of those that react
    if paying:  # the best single arm, by its own means: a share of its effect is given
        best = max(range(k), key=lambda j: orders[arm == str(j)].mean())
        assert any(f"giving everyone '{best}'" in part for part in head.summary)
