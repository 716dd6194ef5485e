"""The page Rules: its numbers are those of `allocate --rules`, its file gives the same plan, and conflicts are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse import frames
from largesse.commands.allocate import allocate_run
from largesse.config.rules import RulesFile
from largesse.errors import DataError
from largesse.menu import PlanTotals
from largesse.policy.deployed import Allocation
from largesse.report.blocks import Bullets, Table
from largesse.report.numbers import count, number
from largesse.report.table import rule_table
from largesse.result import plain
from largesse.web.opened import Studio
from largesse.web.pages.rules import PATH, view
from largesse.web.query import Query
from largesse.web.view import View
from tests.common.studios import made_run, made_units

BUDGET = 5000.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules")
    made_run(folder)
    table = frames.read(made_units(folder))
    rng, n = np.random.default_rng(0), table.num_rows
    for name, share in (("0", 1.1), ("5", 0.7), ("10", 0.8)):
        table = table.append_column(f"may_{name}", pa.array(rng.random(n) < share))
    kept = np.where(rng.random(n) < 0.02, "5", None)
    table = table.append_column("kept", pa.array(kept.tolist(), pa.string()))
    table = table.append_column("zip", pa.array([f"0{k}" for k in rng.integers(1, 4, n)]))
    frames.write(table, folder / "units.parquet")
    frames.write(table, folder / "units.csv")
    return folder


@pytest.fixture(scope="module")
def studio(place: Path) -> Studio:
    return Studio([place / "spring"], users=place / "units.parquet")


def shown(studio: Studio, *pairs: tuple[str, str], **single: str) -> View:
    return view(
        studio, Query([("budget", f"{BUDGET:g}"), *pairs, *((k.replace("_", "."), v) for k, v in single.items())])
    )


def allocated(place: Path, tmp_path: Path, rules: str, **more: Any) -> Allocation[PlanTotals]:
    (tmp_path / "rules.toml").write_text(rules)
    users = more.pop("users", place / "units.parquet")
    return allocate_run(
        place / "spring", users, BUDGET, tmp_path / "plan.parquet", rules=tmp_path / "rules.toml", **more
    )


CASES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "cap": ([("most.5", "600")], 'count = [{treatment = "5", at_most = 600}]'),
    "floor": ([("least.10", "2 50")], 'count = [{treatment = "10", at_least = 250}]'),
    "cities": (
        [("by", "city"), ("group.north", "900"), ("group.east", "1 100.5")],
        'spend = [{by = "city", at_most = {east = 1100.5, north = 900}}]',
    ),
    "return": ([("back", "0.085")], "return = [{at_least = 0.085}]"),
    "not for": (
        [("not", "10;city;north"), ("not.column", "zip"), ("not.group", "01"), ("not.treatment", "5")],
        'not_for = [{treatment = "10", column = "city", values = ["north"]}, '
        '{treatment = "5", column = "zip", values = ["01"]}]',
    ),
    "columns": ([("eligible", "may_{}"), ("kept", "kept")], 'eligible = "may_{}"\nkeep = "kept"'),
    "text": (
        [("rules", 'use = [{name = "contacts", amount = {"10" = 2, "5" = 1}, at_most = 700}]'), ("most.5", "600")],
        'use = [{name = "contacts", amount = {"10" = 2, "5" = 1}, at_most = 700}]\ncount = [{treatment = "5", at_most = 600}]',
    ),
    "none is broken": ([("most.10", "3000")], 'count = [{treatment = "10", at_most = 3000}]'),
}  # fmt: skip


@pytest.mark.parametrize("safety", ["average", "0.9"])
@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_allocate(studio: Studio, place: Path, tmp_path: Path, case: str, safety: str) -> None:
    pairs, rules = CASES[case]
    page = shown(studio, ("safety", safety), *pairs)
    sure = None if safety == "average" else 0.9
    done = allocated(place, tmp_path, rules, safety=sure)
    free = allocate_run(place / "spring", place / "units.parquet", BUDGET, tmp_path / "free.parquet", safety=sure)
    got = page.document["under"]
    wanted = plain({"spend": done.spend, "value": done.value, "brought": done.brought, "mix": done.plan.mix,
                    "rules": done.plan.rules, "planned_spend": done.planned_spend})  # fmt: skip
    for name in ("mix", "spend", "value", "planned_spend"):
        assert got[name] == pytest.approx(wanted[name], rel=1e-12), name
    assert got["brought"] == pytest.approx(wanted["brought"], rel=1e-9)
    assert [one[0] for one in rows(rule_table(done.plan.rules))] == [one["rule"] for one in got["rules"]]
    tables = [block for block in page.moving if isinstance(block, Table)]
    assert rows(tables[1]) == rows(rule_table(done.plan.rules))  # to the last printed digit
    assert done.brought is not None
    assert free.brought is not None
    brought = done.brought.value - free.brought.value
    cells = {row[0]: row[1:] for row in rows(tables[0])}
    assert cells["Extra orders, beyond control for everyone"] == (
        number(free.brought.value, sign=True), number(done.brought.value, sign=True), number(brought, decimals=0, sign=True),
    )  # fmt: skip
    for k, name in enumerate(("0", "5", "10")):
        assert cells[f"Users with {name!r}"][:2] == (count(free.plan.counts[k]), count(done.plan.counts[k]))


def rows(table: Table) -> list[tuple[str, ...]]:
    return [tuple(map(str, row.cells)) for row in table.rows]


@pytest.mark.parametrize("case", CASES)
def test_the_file_of_the_page_gives_the_same_plan(studio: Studio, place: Path, tmp_path: Path, case: str) -> None:
    page = shown(studio, *CASES[case][0])
    done = allocated(place, tmp_path, page.rules)
    assert plain(done.plan.mix) == page.document["under"]["mix"]
    assert done.spend.mean == pytest.approx(page.document["under"]["spend"]["mean"], rel=1e-12)
    words = page.rules.splitlines()
    assert words[1].startswith("# largesse allocate RUN UNITS --budget 5000 ")
    with_budget = "\n".join(
        line.removeprefix("# ") if line.startswith(("# [[", "# at_most")) else line for line in words
    )
    assert RulesFile.parse(with_budget).spend[-1].at_most == BUDGET
    assert RulesFile.parse(page.rules).treatments == ("0", "5", "10")


def test_the_first_sentence_is_what_the_rules_cost(studio: Studio, place: Path, tmp_path: Path) -> None:
    page = shown(studio, *CASES["cap"][0])
    done = allocated(place, tmp_path, CASES["cap"][1])
    free = allocate_run(place / "spring", place / "units.parquet", BUDGET, tmp_path / "free.parquet")
    assert done.brought is not None
    assert free.brought is not None
    assert free.brought.net is not None
    assert done.brought.net is not None
    lost, net = free.brought.value - done.brought.value, free.brought.net - done.brought.net
    assert lost > 0
    start = f"The rules cost {number(lost)} orders"
    assert page.headline.startswith(
        f"{start}, {number(net)} EUR net" if net >= 0 else f"{start}, and leave {number(-net)} EUR more"
    )
    worst = max(done.plan.rules[1:], key=lambda one: one.price * one.limit)
    assert f"“{worst.rule}”: one more would bring {number(worst.price)} orders" in page.action
    assert "(" + number(12 * worst.price) + " EUR)" in page.action
    assert shown(studio, *CASES["none is broken"][0]).headline.startswith("The rules cost nothing")
    empty = shown(studio)
    assert empty.headline.startswith("There are no rules yet.")
    assert not empty.rules


def test_a_conflict_is_explained(studio: Studio) -> None:
    page = shown(studio, ("least.10", "2900"), ("most.5", "1000"))
    assert page.badge is not None
    assert page.badge.text == "cannot hold"
    assert "units with '10' at least 2900" in page.headline
    assert "spend at most 5000" in page.headline
    assert "'5'" not in page.headline, "the cap takes no part in the conflict"
    assert page.action == "Lower a minimum, or give a larger budget than 5,000 EUR."
    assert {one.name: one.value for one in page.fields}["least.10"] == "2900"
    alone = shown(studio, ("least.10", "4000"), ("budget", "1e6"))
    assert alone.headline == "No allocation obeys “units with '10' at least 4000”."


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("rules", "count = [{")], "the text of the rules: is not TOML"),
        ([("rules", "caps = 3")], "the text of the rules: caps == 3: unknown field"),
        ([("rules", 'treatments = ["a", "b"]')], "treatments == ('a', 'b'): the run has"),
        ([("rules", 'count = [{treatment = "15", at_most = 3}]')], "treatment == '15'"),
        ([("rules", 'spend = [{by = "town", at_most = 3}]')], "town"),
        ([("most.10", "many")], "most.10 == 'many': is no number"),
        ([("most.10", "-3")], "most.10 == -3"),
        ([("not", "10;city;west")], "no row of column 'city' has it"),
        ([("eligible", "can_{}")], "can_0"),
    ],
)
def test_what_breaks_a_rule_is_said_beside_the_fields(studio: Studio, pairs: list[tuple[str, str]], words: str) -> None:
    page = shown(studio, *pairs)
    assert page.badge is not None
    assert page.badge.text == "not valid"
    assert words in page.headline
    assert not page.rules
    fields = {one.name: one.value for one in page.fields}
    if pairs[0][0] in fields and pairs[0][0] != "not":
        assert fields[pairs[0][0]] == pairs[0][1], "what was entered is kept"


def test_exclusions_are_chosen_and_undone_by_the_address_alone(studio: Studio) -> None:
    first = shown(studio, not_column="city")
    fields = {one.name: one for one in first.fields}
    columns = ["", "city", "age", "may_0", "may_5", "may_10", "zip"]
    assert [value for value, _ in fields["not.column"].options] == columns[:3] + columns[4:], "may_0 has one label"
    assert [value for value, _ in fields["not.group"].options] == ["", "east", "north", "south"]
    whole = shown(studio, ("not", "5;city;east"), not_column="city", not_group="north", not_treatment="10")
    fields = {one.name: one for one in whole.fields}
    assert (fields["not.group"].value, fields["not.treatment"].value) == ("", "")
    assert [one.value for one in whole.fields if one.name == "not"] == ["5;city;east", "10;city;north"]
    (bullets,) = [block for block in whole.moving if isinstance(block, Bullets)]
    assert bullets.sentences == ("'5' is not for units with city 'east'.", "'10' is not for units with city 'north'.")
    links = dict(whole.links)
    address = links["Allow '10' for city 'north' again"]
    assert "not=5%3Bcity%3Beast" in address
    assert "north" not in address
    assert links["Remove all rules"] == f"{PATH}?budget=5000"
    assert links["Download these rules (TOML)"].endswith("form=toml")
    with pytest.raises(DataError, match="not == '10': must be treatment;column;group"):
        shown(studio, ("not", "10"))


def test_the_groups_of_a_column_become_fields(studio: Studio) -> None:
    page = shown(studio, by="city")
    names = [one.name for one in page.fields]
    assert [name for name in names if name.startswith("group.")] == ["group.east", "group.north", "group.south"]
    opened = {one.name for one in page.fields if one.kind == "heading" and one.value}
    assert opened == {"rules.groups"}
    assert {one.name: one for one in page.fields}["group.north"].label == "At most, EUR, for city 'north'"


def test_cells_of_a_csv_file_stay_as_they_are(place: Path, tmp_path: Path) -> None:
    """As `allocate --rules` reads them: "01" is no number."""
    page = shown(Studio([place / "spring"], users=place / "units.csv"), ("by", "zip"), ("group.01", "50"))
    done = allocated(place, tmp_path, page.rules, users=place / "units.csv")
    assert plain(done.plan.mix) == page.document["under"]["mix"]
    tables = [block for block in page.moving if isinstance(block, Table)]
    assert rows(tables[1])[1][0] == "spend of '01' at most 50"


def test_rules_that_the_run_was_proven_under_are_obeyed(place: Path, tmp_path: Path) -> None:
    own = tmp_path / "spring"
    own.mkdir()
    for item in (place / "spring").iterdir():
        (own / item.name).symlink_to(item)
    (own / "rules.toml").write_text('count = [{treatment = "10", at_most = 100}]')
    studio = Studio([own], users=place / "units.parquet")
    done = allocate_run(own, place / "units.parquet", BUDGET, tmp_path / "plan.parquet")
    assert done.plan.mix["10"] <= 100
    assert shown(studio).document["under"]["mix"] == done.plan.mix
    left = allocate_run(own, place / "units.parquet", BUDGET, tmp_path / "free.parquet", follow_rules=False)
    assert shown(studio, own="no").document["under"]["mix"] == left.plan.mix
    both = shown(studio, ("most.5", "50")).document["under"]
    assert both["mix"]["5"] <= 50
    assert both["mix"]["10"] <= 100


def test_costs_are_those_of_the_trial(studio: Studio) -> None:
    plain_, dearer = (shown(studio, ("most.10", "90"), *more) for more in ([], [("cost", "110")]))
    assert dearer.document["under"] == plain_.document["under"]
    assert any("those of the trial" in one for one in dearer.summary)
    assert ("cost", "110") in [(one.name, one.value) for one in dearer.fields]


def test_without_units_the_page_says_how_to_open_them(place: Path) -> None:
    page = view(Studio([place / "spring"]), Query())
    assert "has none open" in page.headline
    assert "--units FILE" in page.action
    with pytest.raises(DataError, match="run == 'autumn'"):
        view(Studio([place / "spring"]), Query([("run", "autumn")]))
