"""`plan`: a table of values and costs and a file of rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from largesse import frames
from largesse.cli.app import app
from largesse.commands.plan import may_report, plan_under, report_plan
from largesse.errors import ConfigError, DataError, InfeasibleRules, LargesseError, SchemaError, StoreError
from largesse.menu import Bound, PlanTotals
from largesse.report import write_plan

N = 800
HEAD = """
treatments = ["none", "5", "10"]
value = "v {}"
cost = "c {}"
unit = "user"
"""


def table(seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    value, cost = (np.sort(rng.gamma(2.0, 1.0, (N, 3)), axis=1) for _ in range(2))
    cost[:, 0] = 0
    columns = {f"v {name}": value[:, j] for j, name in enumerate(("none", "5", "10"))}
    columns |= {f"c {name}": cost[:, j] for j, name in enumerate(("none", "5", "10"))}
    columns |= {f"may {name}": (rng.random(N) < 0.8) | (j == 0) for j, name in enumerate(("none", "5", "10"))}
    city = np.array(["north", "south", "east"])[rng.integers(0, 3, N)]
    kept = [["5", None, None, None][k % 4] if k < 40 else None for k in range(N)]
    return pa.table({**columns, "user": [f"u{k}" for k in range(N)], "city": city, "kept": pa.array(kept, pa.string())})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    frames.write(table(), tmp_path / "menu.parquet")
    return tmp_path


def planned(place: Path, rules: str, head: str = HEAD):
    (place / "rules.toml").write_text(head + rules)
    return plan_under(place / "menu.parquet", place / "rules.toml", place / "plan.parquet")


def test_every_rule_of_a_file_is_obeyed(place: Path):
    rules = """
eligible = "may {}"
keep = "kept"
spend = [{at_most = 900}, {by = "city", at_most = {north = 250, south = 400}}]
count = [{treatment = "10", at_most = 60}, {treatment = ["5", "10"], by = "city", at_least = 50}]
use = [{amount = {"10" = 2, "5" = 1}, at_most = 500, name = "contacts"}]
return = [{at_least = 0.5}]
"""
    found = planned(place, rules)
    source, plan = table().to_pandas(), frames.read(place / "plan.parquet").to_pandas()
    assert plan["user"].tolist() == source["user"].tolist()
    cost = np.array([source[f"c {t}"][k] for k, t in enumerate(plan["treatment"])])
    np.testing.assert_allclose(plan["cost"], cost)
    got = plan["treatment"]
    assert cost.sum() <= 900
    assert cost[source["city"] == "north"].sum() <= 250
    assert cost[source["city"] == "south"].sum() <= 400
    assert (got == "10").sum() <= 60
    for city in ("north", "south", "east"):
        assert (got[source["city"] == city] != "none").sum() >= 50
    assert 2 * (got == "10").sum() + (got == "5").sum() <= 500
    assert plan["value"].sum() >= 0.5 * cost.sum()
    kept = source["kept"].notna()
    assert (got[kept] == "5").all()
    assert all(source[f"may {t}"][k] for k, t in enumerate(got) if not kept[k])
    assert len(found.rules) == 9
    assert found.gap < 0.01 * found.value


class TestNotFor:
    """`not_for`: treatments that the units of some groups may not get."""

    RULES = """
spend = [{at_most = 900}]
not_for = [{treatment = "10", column = "city", values = ["north", "east"]},
           {treatment = ["5", "10"], column = "kept", values = ["5"]}]
"""

    def test_no_unit_of_a_group_gets_what_is_not_for_it(self, place: Path):
        planned(place, self.RULES)
        source, got = table().to_pandas(), frames.read(place / "plan.parquet").to_pandas()["treatment"]
        assert not (got[source["city"] != "south"] == "10").any()
        assert (got[source["kept"] == "5"] == "none").all()
        assert (got[source["city"] == "south"] == "10").any()
        assert (got[source["kept"].isna() & (source["city"] == "north")] == "5").any(), "an empty cell is not limited"

    def test_it_is_the_same_as_columns_of_truth_values(self, place: Path):
        rows = table()
        city = np.array(rows["city"].to_pylist())
        marked = {f"can {name}": (city == "south") | (name != "10") for name in ("none", "5", "10")}
        for name, column in marked.items():
            rows = rows.append_column(name, pa.array(column))
        frames.write(rows, place / "menu.parquet")
        group = 'not_for = [{treatment = "10", column = "city", values = ["north", "east"]}]\n'
        made = [planned(place, f"{which}spend = [{{at_most = 900}}]") for which in (group, 'eligible = "can {}"\n')]
        assert made[0].value == made[1].value
        assert made[0].mix == made[1].mix

    def test_beside_columns_of_truth_values_both_hold(self, place: Path):
        planned(place, 'eligible = "may {}"' + self.RULES)
        source, got = table().to_pandas(), frames.read(place / "plan.parquet").to_pandas()["treatment"]
        assert not (got[source["city"] != "south"] == "10").any()
        assert all(source[f"may {t}"][k] for k, t in enumerate(got))

    def test_a_budget_alone_is_not_the_only_rule_then(self, place: Path):
        """Without the rule, the plan is found in another way, which knows no groups."""
        free = planned(place, "spend = [{at_most = 900}]")
        assert planned(place, self.RULES).value < free.value


@pytest.mark.parametrize("rules", ["spend = [{at_most = 500}]", 'count = [{treatment = "10", at_most = 20}]'])
@pytest.mark.parametrize("kind", ["parquet", "csv"])  # from file to file, and in memory
def test_net_value_is_the_value_in_money_less_the_cost(place: Path, rules: str, kind: str):
    (place / "rules.toml").write_text(HEAD + rules)
    words = ["plan", str(place / "menu.parquet"), "-r", str(place / "rules.toml"), "-o", str(place / f"plan.{kind}")]
    assert CliRunner().invoke(app, [*words, "--value-per-unit", "3"]).exit_code == 0
    source, plan = table().to_pandas(), frames.read(place / f"plan.{kind}").to_pandas()
    got = [str(name) for name in plan["treatment"]]
    value, cost = (np.array([source[f"{part} {t}"][k] for k, t in enumerate(got)]) for part in "vc")
    np.testing.assert_allclose(plan["net_value"], 3 * (value - source["v none"]) - (cost - source["c none"]), atol=1e-9)
    assert CliRunner().invoke(app, words).exit_code == 0
    assert "net_value" not in frames.read(place / f"plan.{kind}").column_names
    refused = CliRunner().invoke(app, [*words, "--value-per-unit", "0"])
    assert "--value-per-unit == 0.0: must be" in str(refused.exception)


def test_the_command_says_what_the_rules_use(place: Path):
    (place / "rules.toml").write_text(HEAD + 'spend = [{at_most = 500}]\ncount = [{treatment = "10", at_most = 20}]\n')
    words = ["plan", str(place / "menu.parquet"), "-r", str(place / "rules.toml"), "-o", str(place / "plan.csv")]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert told["units"] == N
    assert told["spend"] <= 500
    assert [rule["rule"] for rule in told["rules"]] == ["spend at most 500", "units with '10' at most 20"]
    assert told["mix"]["10"] <= 20
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "spend at most 500" in shown.output


def test_the_report_says_what_every_rule_costs(place: Path):
    (place / "rules.toml").write_text(
        HEAD
        + 'spend = [{at_most = 500}]\ncount = [{treatment = "10", at_most = 20}, {treatment = "5", at_most = 790}]\n'
    )
    page = place / "plan.html"
    words = ["plan", str(place / "menu.parquet"), "-r", str(place / "rules.toml"), "-o", str(place / "plan.csv")]
    assert CliRunner().invoke(app, [*words, "--report", str(page)]).exit_code == 0
    html = page.read_text()
    assert "What the rules cost" in html
    assert "units with &#39;10&#39; at most 20" in html
    assert "Apart from the budget, the rule that costs most value" in html
    assert html.count("does not bind") == 1
    assert "http" not in html.split("<body>")[1]
    with pytest.raises(StoreError, match="cannot be written") as error:
        report_plan(planned(place, "spend = [{at_most = 500}]"), place / "plan.parquet", place)
    assert error.value.__notes__ == [f"The allocation is in {place / 'plan.parquet'}."]


def test_the_report_names_the_rule_that_costs_most(tmp_path: Path):
    rules = (
        Bound("spend at most 9", 9, 9, 5.0, True, of_spend=True),
        Bound("few", 2, 2, 3.0, True),
        Bound("many", 100, 100, 0.5, True),
        Bound("idle", 1, 8, 0, False),
    )
    plan = PlanTotals(
        treatments=("none", "5"), counts=np.array([3, 1]), price=5.0, spend=9, value=20, bound=20, rules=rules
    )
    assert "costs most value is “many”" in write_plan(plan, tmp_path / "p.html", title="p").read_text()


REFUSED: dict[str, tuple[str, type[LargesseError], str]] = {
    "unknown field": ("spent = 3", ConfigError, "spent == 3"),
    "kind": ('spend = [{at_most = "much"}]', ConfigError, "spend.0.at_most.*much"),
    "nothing": ("", DataError, "nothing to obey"),
    "no bound": ("spend = [{}]", DataError, "bounds nothing"),
    "column": ('eligible = "can {}"\nspend = [{at_most = 1}]', SchemaError, "column 'can none'.*eligible names it"),
    "group column": ('spend = [{by = "town", at_most = 9}]', SchemaError, "column 'town'"),
    "group": ('spend = [{by = "city", at_most = {west = 9}}]', DataError, "west.*has it"),
    "groups without column": ("spend = [{at_most = {north = 9}}]", DataError, "limits by name need the column"),
    "treatment": ('count = [{treatment = "15", at_most = 9}]', DataError, "treatment == '15'"),
    "amount": ('use = [{amount = {"15" = 1}, at_most = 9}]', DataError, r"use\[0\].amount == '15'"),
    "kept": ('keep = "city"\nspend = [{at_most = 9}]', DataError, "keep == "),
    "two limits": (
        'spend = [{by = "city", at_most = {north = 9}, at_least = {south = 1}}]', DataError, "must name the groups",
    ),
    "true for a limit": ("spend = [{at_most = true}]", ConfigError, "at_most.*True"),
    "true for an amount": ('use = [{amount = {"10" = true}, at_most = 9}]', ConfigError, "amount.*True"),
    "not for whom": ('not_for = [{treatment = "5", column = "city", values = []}]', ConfigError, "1 or more items"),
    "not for a column": (
        'not_for = [{treatment = "5", column = "town", values = ["x"]}]', SchemaError, r"column 'town'.*not_for\[0\].column",
    ),
    "not for a group": (
        'not_for = [{treatment = "5", column = "city", values = ["west"]}]', DataError, "west.*no row of column 'city' has it",
    ),
    "not for a treatment": (
        'not_for = [{treatment = ["5", "15"], column = "city", values = ["north"]}]', DataError,
        r"not_for\[0\].treatment == '15'",
    ),
    "nothing left": (
        'spend = [{at_most = 9}]\nnot_for = [{treatment = ["none", "5", "10"], column = "city", values = ["north"]}]',
        DataError, "no eligible treatment",
    ),
    "conflict": ('spend = [{at_most = 1}]\ncount = [{treatment = "10", at_least = 700}]', InfeasibleRules, "cannot hold"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_makes_no_sense_is_refused_and_nothing_is_written(place: Path, kind: str):
    rules, error, words = REFUSED[kind]
    with pytest.raises(error, match=words):
        planned(place, rules)
    assert not (place / "plan.parquet").exists()


def test_other_refusals(place: Path):
    with pytest.raises(ConfigError, match="stands for the treatment"):
        planned(place, "spend = [{at_most = 9}]", HEAD.replace("v {}", "v none"))
    with pytest.raises(ConfigError, match="is not TOML"):
        planned(place, "spend = [")
    with pytest.raises(StoreError, match="overwrite"):
        plan_under(place / "menu.parquet", place / "rules.toml", place / "menu.parquet")
    with pytest.raises(DataError, match="there is no folder"):  # before the menu is looked for
        plan_under(place / "nothing.parquet", place / "rules.toml", place / "no" / "plan.csv")
    twice = table().set_column(9, "user", pa.array(["u"] * N))
    frames.write(twice, place / "menu.parquet")
    with pytest.raises(DataError, match="unit == 'u': each unit may appear only once"):
        planned(place, "spend = [{at_most = 9}]")
    lost = table().set_column(9, "user", pa.array([None] + ["u"] * (N - 1), pa.string()))
    frames.write(lost, place / "menu.parquet")
    with pytest.raises(DataError, match=r"user\[0\] is missing: every row needs a unit id"):
        planned(place, "spend = [{at_most = 9}]")
    broken = table().set_column(0, "v none", pa.array([None] + [1.0] * (N - 1)))
    frames.write(broken, place / "menu.parquet")
    with pytest.raises(DataError, match=r"v none\[0\] == nan.*\(1 such row of"):
        planned(place, "spend = [{at_most = 9}]")
    below = table().set_column(table().column_names.index("c 10"), "c 10", pa.array([1.0] * (N - 1) + [-1.0]))
    frames.write(below, place / "menu.parquet")
    with pytest.raises(DataError, match=rf"c 10\[{N - 1}\] == -1.0: must be >= 0"):
        planned(place, "spend = [{at_most = 9}]")


def test_a_limit_of_each_group_needs_the_group_of_each_row(place: Path):
    with pytest.raises(DataError, match=r"kept\[1\] is missing: the limit of spend\[0\] holds for each group"):
        planned(place, 'spend = [{by = "kept", at_most = 9}]')
    planned(place, 'spend = [{by = "kept", at_most = {"5" = 900}}]')  # by name: rows of no group are not limited


@pytest.mark.parametrize("rule", ['use = [{amount = {"5" = 1e308}, at_most = 1e308}]', "return = [{at_least = 1e308}]"])
def test_amounts_whose_sums_would_overflow_are_refused(place: Path, rule: str):
    with pytest.raises(DataError, match="1e\\+15"):
        planned(place, f"spend = [{{at_most = 900}}]\n{rule}")


def test_a_page_never_replaces_an_input(place: Path):
    menu, rules, output = place / "menu.parquet", place / "rules.toml", place / "plan.parquet"
    for page in (menu, rules):
        with pytest.raises(StoreError, match="would overwrite an input file"):
            may_report(page, menu, rules, output)
    with pytest.raises(StoreError, match="is the name of the allocation too"):
        may_report(output, menu, rules, output)
    with pytest.raises(DataError, match="there is no folder"):
        may_report(place / "no" / "page.html", menu, rules, output)
    may_report(place / "page.html", menu, rules, output)
