"""The rows of a proof: whoever doubts a number of the report can compute it again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from largesse import frames
from largesse.commands.fit import Run, fit
from largesse.config import parse
from largesse.errors import DataError
from largesse.evaluate import outcome_curve
from largesse.menu import Menu
from tests.common.campaigns import TEXT, table
from tests.common.worlds import orders

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("audit")
    frames.write(table(1500, 1), place / "trial.parquet")
    text = TEXT.format(more="folds = 3") + "[outcome]\nvalue_per_unit = 10\n"
    return fit(parse(text, folder=place), folder=place / "runs" / "spring")


def test_the_page_of_the_docs_computes_the_numbers_of_the_report(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.folder.parents[1])
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "audit.md").read_text(), flags=re.S)
    names: dict[str, float] = {}
    exec(code, names)
    (row,) = [
        r
        for r in run.metrics["returns"]["rows"]
        if r["name"] == "policy" and r["budget"] == run.metrics["budgets_per_head"][1]
    ]
    numbers = [names["extra_value"], names["extra_spend"], names["net_value"]]
    np.testing.assert_allclose(numbers, [row["value"], row["spend"], row["net"]], rtol=1e-9)


def test_the_table_has_every_row_once_with_its_decisions(run: Run):
    proof = pd.read_parquet(run.folder / "proof.parquet")
    data = frames.read(run.folder.parents[1] / "trial.parquet").to_pandas()
    own = ["user", "fold", "treatment", "value", "cost", "weight", "propensity"]
    assert list(proof) == [*own, "decision_1", "counts_1", "decision_2", "counts_2", "decision_without_budget"]
    assert sorted(proof.user) == sorted(data.user)
    both = proof.merge(data, on="user")
    assert (both.treatment == both.arm).all()
    assert np.allclose(both.value, both.orders)
    assert np.allclose(both.cost, both.spent)
    assert proof.fold.value_counts().between(400, 600).all()
    shares = data.arm.value_counts() / len(data)
    assert np.allclose(proof.propensity, shares[proof.treatment], rtol=1e-6)
    for k, spent in enumerate(run.metrics["spend"], start=1):
        assert proof[f"counts_{k}"].between(0, 1).all()
        followed = proof[f"decision_{k}"] == proof.treatment
        assert np.isclose((followed * proof.cost / proof.propensity).mean(), spent["realised"])
        assert (followed == (proof[f"counts_{k}"] > 0.5)).mean() > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_what_counts_sums_to_the_value_at_every_budget(seed: int):
    """Coarse menus make ties, noise makes pools, and both ends of the range are among the budgets."""
    logs = orders(600, seed=seed)
    rng = np.random.default_rng(seed)
    m = logs.n_treatments
    menu = Menu(
        value=rng.integers(0, 9, (logs.n, m)).astype(float),
        cost=np.sort(rng.integers(0, 4, (logs.n, m)), axis=1).astype(float),
    )
    logs = replace(logs, weight=rng.integers(1, 4, logs.n).astype(float))
    curve = outcome_curve(logs, menu)
    low, high = curve.reach
    budgets = np.concatenate([np.linspace(low, high, 9), [high * 2]])
    counts = curve.matched(budgets)
    w = logs.inverse_propensity / logs.total_weight
    np.testing.assert_allclose(counts @ (w * logs.value), curve.value_at(budgets), rtol=1e-9)
    np.testing.assert_allclose(counts @ (w * logs.cost), np.minimum(budgets, high), rtol=1e-9)
    assert ((counts >= 0) & (counts <= 1)).all()
    if low > 0:
        assert np.isnan(curve.matched(low / 2)).all()
    with pytest.raises(DataError, match="only sums of rows"):
        outcome_curve(logs, menu, estimator="sn").matched(1.0)


def test_what_pays_without_a_budget_by_hand(run: Run):
    """The rows that were given what the policy gives them say what it brings."""
    free = run.metrics["without_a_budget"]
    proof = pd.read_parquet(run.folder / "proof.parquet")
    part = (
        (proof.decision_without_budget == proof.treatment).astype(float) - (proof.treatment == "0")
    ) / proof.propensity
    assert free["net"] == pytest.approx((part * (10 * proof.value - proof.cost)).mean())
    assert (free["value"], free["spend"]) == pytest.approx(((part * proof.value).mean(), (part * proof.cost).mean()))
    assert free["given"][0] == pytest.approx((proof.decision_without_budget == "0").mean())
    assert free["net_low"] < free["net"] < free["net_high"]
    assert free["verdict"] in {"spend this, targeted", "spend this, untargeted", "not shown to pay", "shown not to pay"}
    assert free["leads"] == ("without a budget" in run.metrics["headline"])
    assert "everybody gets what pays by the model" in (run.folder / "report.html").read_text()
