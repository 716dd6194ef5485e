"""The examples of the documents run, and their links and tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.figures import FIGURES, PARTS
from docs import prose
from largesse.models.registry import NAMES

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_the_examples_run_as_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.S):
        exec(code, names)
    assert "boosting" in (shown := capsys.readouterr().out) or "policy" in shown
    plan = names["plan"] if name == "README.md" else names["allocation"].plan
    assert plan.n == (1_000 if name == "README.md" else 5_000)
    assert 0 < plan.spend <= plan.budget


def test_every_candidate_is_described():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name in NAMES:
        assert f"| `{name}` |" in text, name


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"


class TestNumbers:
    """Measured numbers of the prose come from cells: `docs/prose.py`."""

    @pytest.fixture
    def page(self, tmp_path: Path) -> Path:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "constants.toml").write_text('[level]\n"docs/page.md" = ["a 95 % interval"]\n')
        return tmp_path / "docs" / "page.md"

    @pytest.mark.parametrize(
        "sentence",
        [
            "It gains 12 % of the value.", "It gains 12%.", "a lead of 3 points", "leads by 12, 12 and 4 points", "by a point",
            "by two points", "for a third more time", "twice as fast", "65× as fast", "65 times as long", "in 0.4 s",
            "in 30 seconds", "took 26 µs", "needs 3.6 GB", "the effect (-6 to 20)", "lower (.4, -.2 to 1.1)", "a value of .579",
            "-2.7 in discount", "2 of 20,000 units differ", "less than two in a thousand", "half of the value",
            "two tenths of the value", "`code` and 4 %", "| a cell | 7 % |", "hundreds of times",
            "over\ntwo lines: 12\n% of it", "by 5 to <!--=a-->9<!--/--> %", "5 and <!--=a-->9 %<!--/--> or 4 %",
        ],
    )  # fmt: skip
    def test_a_measured_number_without_a_marker_is_found(self, page, sentence):
        page.write_text(f"# Title\n\n{sentence}\n")
        assert prose.loose(page.parents[1], page)

    @pytest.mark.parametrize(
        "sentence",
        [
            "It gains <!--=a-->12 %<!--/--> of the value.", "leads by <!--=a-->12, 12 and 4<!--/--> points", "200,000 trial rows",
            "a 95 % interval", "`gain = 12 %`", "```\ngain = 12 %\n```", "text\n\n    gain = 12 %\n", "[a page](pages/12%.md)",
            "<!-- made: t -->\n| 12 % |\n<!-- end: t -->", "steps 1 and 2", "five tables", "layers of 64 and 32", "<!-- 12 % -->",
        ],
    )  # fmt: skip
    def test_what_is_marked_listed_or_not_measured_passes(self, page, sentence):
        page.write_text(f"# Title\n\n{sentence}\n")
        assert prose.loose(page.parents[1], page) == []

    def test_a_listed_constant_counts_where_it_stands_and_nowhere_else(self, page):
        page.write_text("a 95 % interval, and 95 % of the users\n")
        assert len(prose.loose(page.parents[1], page)) == 1
        assert prose.unused(page.parents[1], page) == []
        page.write_text("nothing\n")
        assert prose.unused(page.parents[1], page) == ["a 95 % interval"]

    def test_a_marked_number_becomes_what_its_cells_give(self):
        text = "gains <!--=a-->12 %<!--/-->, loses <!--=b-->1 to\n2<!--/--> points"
        figures = {"a": lambda: "13 %", "b": lambda: "3"}
        assert prose.renewed(text, figures) == "gains <!--=a-->13 %<!--/-->, loses <!--=b-->3<!--/--> points"
        with pytest.raises(SystemExit, match=r"<!--=c-->: there is no such figure"):
            prose.renewed("<!--=c-->1<!--/-->", figures)
        for half in ("<!--=a-->12 %", "12 %<!--/-->"):
            with pytest.raises(SystemExit, match="half a marker"):
                prose.renewed(half, figures)

    def test_a_wrong_number_in_a_page_is_stale(self):
        from docs import generate

        text = (ROOT / "README.md").read_text()
        assert generate.renewed(text) == text
        wrong = re.sub(r"(<!--=guarantee\.over-->)[^<]*", r"\g<1>1 to 2 %", text)
        assert wrong != text
        assert generate.renewed(wrong) == text

    def test_figures_are_what_the_cells_say(self):
        """Three of them, computed from the files by other means."""
        cells, over = ROOT / "docs" / "benchmarks", []
        for world in ("discount", "money_off"):
            runs = [json.loads(place.read_text()) for place in cells.glob(f"guarantee/{world}-*.json")]
            for share in ("0.05", "0.25"):
                spent = [used for one in runs for used in one["used"][share]["0.95"]]
                over.append(100 * sum(used > 1 for used in spent) / len(spent))
        assert FIGURES["guarantee.over"]() == f"{min(over):.0f} to {max(over):.0f} %"

        def gain(world: str, label: str) -> list[float]:
            runs = [json.loads((cells / f"hrc/small-{world}-x1-{seed}.json").read_text()) for seed in range(10)]
            return [100 * sum(one["gains"][label]) / 4 for one in runs]

        ours, trees = gain("discount", "HRC, RCT + OBS"), gain("discount", "LightGBM S, RCT + OBS")
        lead = sum(a - b for a, b in zip(ours, trees, strict=True)) / 10
        assert FIGURES["hrc.light"]().startswith(f"{lead:.0f} and ")
        published, base = (
            [
                100 * sum(json.loads(place.read_text())["methods"][label]["gain"][k] for k in (1, 4, 6, 8)) / 4
                for place in sorted(cells.glob("cells/main-discount-?.json"))
            ]
            for label in ("Bi-DFCL-PPL", "TSM-SL, RCT + OBS")
        )
        test = stats.ttest_rel(published, base)
        low, high = test.confidence_interval(0.95)
        apart = f"{sum(published) / 8 - sum(base) / 8:+.1f} ({low:+.1f} to {high:+.1f})"
        assert f"| discount | 200,000 | 1,000,000 | 8 | {apart} |" in PARTS["bidfcl-published"]()
