"""Results show themselves in a notebook: a table with the right numbers, a picture, and escaped labels."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from largesse import Boosting, Logs, Menu, Policy, compare, outcome_curve, solve
from largesse.experiment import Columns, Metric, measure
from tests.common.shops import shop
from tests.common.worlds import orders

BAD = "<script>alert('x')</script>"


def cells(html: str) -> list[list[str]]:
    """Returns the rows of the first table, its head first."""
    rows = re.findall(r"<tr>(.*?)</tr>", html.partition("</table>")[0])
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]


def pictures(html: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]*)"', html)]


def named(first: str = "none", **changes: Any) -> Logs:
    logs = orders(2000, seed=1)
    fields = {name: getattr(logs, name) for name in ("x", "treatment", "value", "cost")}
    return Logs(**fields, treatments=(first, "5 off", "10 off"), features=("age", "vip", "a", BAD), **changes)


@pytest.fixture(scope="module")
def fitted() -> tuple[Logs, Menu, Policy]:
    logs = named(BAD)
    model = Boosting(rounds=5).fit(logs)
    return logs, model.predict(logs.x), Policy.calibrated(model, logs, draws=20)


def test_logs_show_their_arms() -> None:
    logs = Logs(
        x=[[0.0], [1.0], [2.0], [3.0]], treatment=[0, 1, 1, 1], value=[1, 0, 2, 4], cost=[0, 1, 1, 2], weight=[1, 1, 1, 2],
        treatments=("none", "some"), features=("age",), unit=[1, 2, 3, 4],
    )  # fmt: skip
    html = logs._repr_html_()
    head, none, some = cells(html)
    assert head == ["treatment", "rows", "share", "mean value", "mean cost"]
    assert none == ["none", "1", "25 %", "1.00", "0"]
    assert some == ["some", "3", "75 %", "2.50", "1.50"]  # (0 + 2 + 2 · 4) / 4 and (1 + 1 + 2 · 2) / 4
    assert "Logs of 4 rows of a randomised trial" in html
    assert "1 feature: age. Also: unit, weight." in html


def test_an_arm_of_past_campaign_data_may_have_no_rows() -> None:
    logs = Logs(
        x=[[0.0], [1.0]], treatment=[0, 0], value=[1, 0], cost=[0, 0], treatments=("none", "some"), design="obs"
    )
    assert cells(logs._repr_html_())[2] == ["some", "0", "0 %", "–", "–"]
    assert "past campaign data" in logs._repr_html_()


def test_a_plan_shows_who_gets_what() -> None:
    menu = Menu(value=[[0.0, 3.0], [0.0, 1.0], [0.0, 0.5]], cost=[[0.0, 1.0]] * 3, treatments=("none", "coupon"))
    plan = solve(menu, 1.0)
    for shown in (plan, plan.totals):
        html = shown._repr_html_()
        assert cells(html) == [["treatment", "units", "share"], ["none", "2", "67 %"], ["coupon", "1", "33 %"]]
        assert len(pictures(html)) == 1
        assert "of 3 units: spend 1.00, value 3.00" in html
    assert "to_frame()" in plan._repr_html_()


def test_many_treatments_are_cut() -> None:
    menu = Menu(value=np.zeros((3, 40)), cost=np.tile(np.arange(40.0), (3, 1)))
    assert len(cells(solve(menu, 1.0)._repr_html_())) == 1 + 20 + 1
    assert "and 20 more" in solve(menu, 1.0)._repr_html_()
    assert not pictures(solve(menu, 1.0)._repr_html_())


def test_a_menu_shows_its_first_units(fitted: tuple[Logs, Menu, Policy]) -> None:
    html = Menu(value=[[0.0, 3.0]], cost=[[0.0, 1.0]], treatments=("none", "coupon"), unit=["a"])._repr_html_()
    assert cells(html) == [
        ["unit", "value_none", "value_coupon", "cost_none", "cost_coupon"],
        ["a", "0", "3", "0", "1"],
    ]
    assert len(cells(fitted[1]._repr_html_())) == 1 + 20


def test_an_allocation_names_spend_and_budget(fitted: tuple[Logs, Menu, Policy]) -> None:
    _, menu, policy = fitted
    given = policy.allocate(menu, 300.0, safety=0.9)
    html = given._repr_html_()
    assert "of 2,000 units: expected spend" in html
    assert "budget 300;" in html
    assert [int(row[1].replace(",", "")) for row in cells(html)[1:]] == given.plan.counts.tolist()
    assert "budget" not in policy.allocate_at(menu, 0.1)._repr_html_()


def test_curves_and_comparisons_have_pictures(fitted: tuple[Logs, Menu, Policy]) -> None:
    logs, menu, policy = fitted
    experiment = measure(shop(1500, arms=3), Columns(arm="group", metrics=(Metric("spend", covariate="before"),)))
    shown = {
        "comparison": compare(logs, {BAD: menu, "b": menu}, [0.3, 0.5]), "outcome curve": outcome_curve(logs, menu),
        "price curve": policy.curve, "allocation": policy.allocate(menu, 300.0), "plan": solve(menu, 200.0),
        "experiment": experiment,
    }  # fmt: skip
    for name, one in shown.items():
        (picture,) = pictures(one._repr_html_())
        assert picture.startswith(b"\x89PNG"), name
        assert len(picture) > 5_000, name


def test_no_label_becomes_part_of_the_page(fitted: tuple[Logs, Menu, Policy]) -> None:
    logs, menu, policy = fitted
    shown = (
        logs, menu, solve(menu, 200.0), solve(menu, 200.0).totals, policy.allocate(menu, 300.0), policy.curve, policy,
        compare(logs, {BAD: menu}, [0.3]), outcome_curve(logs, menu),
    )  # fmt: skip
    for one in shown:
        assert "<script" not in one._repr_html_(), type(one).__name__
    assert "&lt;script&gt;" in logs._repr_html_()


def test_the_price_curve_is_a_frame(fitted: tuple[Logs, Menu, Policy]) -> None:
    """Spend and value per unit are those that the policy expects of as many units as the calibration rows."""
    logs, menu, policy = fitted
    frame = policy.curve.to_frame()
    assert len(frame) == len(policy.curve.price)
    row = frame.iloc[len(frame) // 2]
    expected = policy.allocate_at(menu, float(row["price"]))
    assert row["planned_spend"] * logs.n == pytest.approx(expected.planned_spend)
    for name in ("spend", "value"):
        estimate = getattr(expected, name)
        assert row[name] * logs.n == pytest.approx(estimate.mean, rel=1e-9)
    assert row["value_low"] * logs.n == pytest.approx(expected.value.low)
    assert row["value_high"] * logs.n == pytest.approx(expected.value.high)


def test_only_a_notebook_loads_the_charts() -> None:
    code = (
        "import sys; from largesse import Logs; l = Logs(x=[[0.0], [1.0]], treatment=[0, 1], value=[0, 1], cost=[0, 1]); "
        "repr(l); "
        "assert 'matplotlib' not in sys.modules and 'largesse.commands' not in sys.modules; l._repr_html_(); "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
