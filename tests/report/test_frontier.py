"""The slider: at the budgets of the table it says what the table says; between them, what the rows give."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse import Logs, Menu, report
from largesse.commands.findings.frontier import frontier
from largesse.commands.held_out import Proof
from largesse.errors import DataError
from largesse.evaluate.comparison import compare
from largesse.evaluate.returns import returns
from largesse.report.markdown import markdown
from largesse.report.page import page
from largesse.report.sections import sections
from tests.common.results import bare

BUDGETS, N = (0.3, 0.7, 1.1), 3000


def proof() -> Proof:
    rng = np.random.default_rng(3)
    x, t = rng.random(N), rng.integers(0, 3, N)
    value = (rng.random(N) < 0.2 + 0.2 * t * x).astype(float)
    logs = Logs(x=x[:, None], treatment=t, value=value, cost=t * 1.0, treatments=("none", "5", "10"))
    menu = Menu(
        value=np.column_stack([0 * x, x, 1.5 * x]), cost=np.tile([0.0, 1.0, 2.0], (N, 1)), treatments=logs.treatments
    )
    nothing = np.zeros((len(BUDGETS), N), np.int32)
    return Proof(logs, {"policy": menu}, nothing, np.zeros(3), np.zeros(3), ("policy",), np.zeros(N, np.int64))


def shown(value_per_unit: float | None, budgets: tuple[float, ...] = BUDGETS) -> report.Results:
    held = proof()
    made = returns(compare(held.logs, held.menus, budgets), value_per_unit=value_per_unit)
    rows = tuple(
        report.PayRow(budget_label=f"budget {b}", returns=made.of(name)[b])
        for b in range(len(budgets))
        for name in ("policy", "best mix of arms")
    )
    along = frontier(held.logs, "policy", held.menus["policy"], budgets, value_per_unit).begun_at(budgets[1])
    return replace(bare(), pay=report.Pay(rows=rows, known=value_per_unit is not None, frontier=along))


def stops(html: str) -> list[dict[str, Any]]:
    block = re.search(r'id="pay-slider-data">(.*?)</script>', html, re.S)
    assert block is not None
    return json.loads(block[1])


def table_of(html: str) -> dict[str, list[str]]:
    """Label of each budget → cells of the policy's row, as printed."""
    section = html[html.index('<section id="pay">') : html.index('class="slider"')]
    labels = re.findall(r"<b>(budget .*?)</b>", section)
    rows = re.findall(r'<tr class="ours">(.*?)</tr>', section, re.S)
    cells = [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.S)] for row in rows]
    return dict(zip(labels, cells, strict=True))


@pytest.mark.parametrize("value_per_unit", [6.0, None])
def test_at_the_budgets_of_the_table_the_slider_prints_its_digits(value_per_unit: float | None):
    html = page(shown(value_per_unit))
    table, marked = table_of(html), {stop["note"]: stop for stop in stops(html) if stop["note"]}
    assert list(marked) == list(table) == ["budget 0", "budget 1", "budget 2"]
    for label, cells in table.items():
        numbers = cells[1:] if value_per_unit else cells  # the first one is the verdict
        assert marked[label]["cells"][: len(numbers)] == numbers


def test_the_positions_are_the_range_and_the_budgets():
    along = shown(6.0).pay.frontier
    assert along is not None
    budgets = [row.budget for row in along.rows]
    assert (budgets[0], budgets[-1], len(budgets)) == (0.0, 2.0, 61)  # 0.3 and 0.7 are steps up to rounding; 1.1 too
    assert set(BUDGETS) <= set(budgets)
    assert along.rows[along.start].budget == BUDGETS[1]
    assert budgets == sorted(budgets)


def test_the_mix_spends_the_budget_and_the_numbers_add_up():
    """Costs are fixed by arm, 0, 1 and 2: the shares must cost what the model spends, by hand; net is m ΔV - ΔC."""
    along = shown(6.0).pay.frontier
    assert along is not None
    for row, shares in zip(along.rows, along.shares, strict=True):
        assert sum(shares) == pytest.approx(1)
        assert np.dot(shares, [0, 1, 2]) == pytest.approx(row.spend, abs=0.1)
        assert row.net == pytest.approx(6.0 * row.value - row.spend)
    assert along.shares[0] == pytest.approx((1.0, 0.0, 0.0), abs=0.01)


def test_only_a_page_has_the_slider():
    made = shown(6.0)
    assert "slider" in page(made)
    text = markdown(made.headline, sections(made))
    assert "at any budget" not in text
    assert 'type="range"' not in page(replace(made, pay=replace(made.pay, frontier=None)))


def test_names_are_escaped():
    made = shown(6.0)
    assert made.pay is not None
    assert made.pay.frontier is not None
    nasty = replace(made.pay.frontier, treatments=("<script>a", "</script>", "&"))
    html = page(replace(made, money_unit="</script><b>", pay=replace(made.pay, frontier=nasty)))
    assert "<script>a" not in html
    assert "</script><b>" not in html


def test_a_frontier_has_one_mix_per_budget():
    made = shown(6.0).pay.frontier
    assert made is not None
    with pytest.raises(DataError, match="len\\(shares\\)"):
        replace(made, shares=made.shares[:-1])
    with pytest.raises(DataError, match="start"):
        replace(made, start=61)


def test_the_files_of_a_report(tmp_path: Path):
    made = shown(None)
    report.write(made, tmp_path)
    assert 'type="range"' in (tmp_path / "report.html").read_text()
    assert "at any budget" not in (tmp_path / "summary.md").read_text()
