"""What held-out rows say of a budget: the numbers of the report at its budgets, and of a trial in which all costs more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from largesse.commands.studio.evidence import Evidence, WhatIf
from largesse.config import load
from largesse.errors import DataError
from largesse.evaluate import compare, returns
from largesse.evaluate.break_even import break_even
from largesse.evaluate.comparison import BEST_MIX
from largesse.menu import Menu
from tests.common.studios import made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("evidence"))


@pytest.fixture(scope="module")
def evidence(run: Path) -> Evidence:
    made = Evidence.of_run(run, load(run / "config.toml"))
    assert made is not None
    return made


AS_DECLARED = WhatIf(12.0, 1.0)


def test_at_its_budgets_it_says_what_the_report_says(run: Path, evidence: Evidence) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    for budget in metrics["budgets_per_head"]:
        got = evidence.at(budget, AS_DECLARED)
        for name, row in (("policy", got.policy), (BEST_MIX, got.untargeted)):
            (expected,) = (r for r in metrics["returns"]["rows"] if (r["name"], r["budget"]) == (name, budget))
            for field in row._fields[1:]:
                np.testing.assert_allclose(getattr(row, field), expected[field], rtol=1e-9, err_msg=f"{name} {field}")
        (paired,) = (r for r in metrics["rows"] if (r["name"], r["budget"]) == ("policy", budget))
        assert (got.difference, got.low, got.high) == pytest.approx(
            (paired["difference"], paired["difference_low"], paired["difference_high"])
        )
        assert sum(got.shares) == pytest.approx(1.0)


def test_the_break_even_is_that_of_the_report(run: Path, evidence: Evidence) -> None:
    expected = json.loads((run / "metrics.json").read_text())["break_even"]
    got = evidence.turning(AS_DECLARED)
    assert got is not None
    for name, value in got._asdict().items():
        np.testing.assert_allclose(value, np.inf if expected[name] is None else expected[name], rtol=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.3])
def test_dearer_costs_are_those_of_a_trial_in_which_all_costs_more(evidence: Evidence, factor: float) -> None:
    proof = evidence.proof
    assert isinstance(proof.menu, Menu)
    logs = replace(proof.logs, cost=proof.logs.cost * factor, propensity="observed")
    menu = replace(proof.menu, cost=proof.menu.cost * factor)
    table = compare(logs, {"policy": menu}, [0.9]).against(BEST_MIX)
    expected = returns(table, value_per_unit=7.0)
    got = evidence.at(0.9, WhatIf(7.0, factor))
    for name, row in (("policy", got.policy), (BEST_MIX, got.untargeted)):
        (other,) = expected.of(name)
        # Menus are in single precision; the noise of the best mix depends on the unit of money in the sixth digit, and the
        # ends of its intervals in the third.
        points = [k for k in range(1, len(row)) if not row._fields[k].endswith(("_low", "_high"))]
        np.testing.assert_allclose([row[k] for k in points], [other[k] for k in points], rtol=1e-3, err_msg=name)
        within = 1e-5 if name == "policy" else 0.02
        np.testing.assert_allclose(row[1:], other[1:], rtol=within, err_msg=name)
    assert got.difference == pytest.approx(float(table.difference[0, 0]), rel=1e-3)
    turning = evidence.turning(WhatIf(7.0, factor))
    most = max(arm.cost for arm in table.arms)
    line = compare(logs, {"policy": menu}, np.linspace(0, most, 25))
    np.testing.assert_allclose(turning, break_even(line, "policy", value_per_unit=7.0), rtol=1e-4)


def test_the_groups_together_are_the_whole(evidence: Evidence) -> None:
    whole = evidence.at(0.9, AS_DECLARED).policy
    for column in ("city", "age"):
        rows = evidence.segments(column, 0.9, AS_DECLARED)
        assert sum(row.share for row in rows) == pytest.approx(1.0)
        for name in ("value", "spend", "net"):
            total = sum(row.share * getattr(row, name) for row in rows)
            assert total == pytest.approx(getattr(whole, name), abs=0.02 * abs(getattr(whole, name)) + 1e-3)


def test_groups_cost_more_where_all_costs_more(evidence: Evidence) -> None:
    one, more = (evidence.segments("city", b, WhatIf(m, f)) for b, m, f in ((0.9, 6.0, 1.0), (1.8, 12.0, 2.0)))
    for a, b in zip(one, more, strict=True):
        assert (b.value, b.spend, b.net) == pytest.approx((a.value, 2 * a.spend, 2 * a.net))


def test_bad_assumptions_are_refused(evidence: Evidence, run: Path) -> None:
    config = load(run / "config.toml")
    with pytest.raises(DataError, match="value per unit"):
        WhatIf.of(config, -1.0, 1.0)
    with pytest.raises(DataError, match="cost factor"):
        WhatIf.of(config, None, 0.0)
    with pytest.raises(DataError, match="budget"):
        evidence.at(-0.1, AS_DECLARED)
    with pytest.raises(DataError, match="column"):
        evidence.segments("nothing", 0.9, AS_DECLARED)
    assert WhatIf.of(config, None, 1.0) == AS_DECLARED


def test_without_a_value_of_money_nothing_is_said_to_pay(evidence: Evidence) -> None:
    got = evidence.at(0.9, WhatIf(None, 1.0))
    assert got.verdict is None
    assert np.isnan(got.policy.net)
    assert evidence.turning(WhatIf(None, 1.0)) is None
