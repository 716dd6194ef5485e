"""The report: every section, nothing loaded, everything escaped, whole files only."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from math import nan
from pathlib import Path

import pytest

from largesse import report
from largesse.checks import Finding
from largesse.errors import DataError, StoreError
from largesse.report import files, numbers
from largesse.report.markdown import markdown
from largesse.report.page import page
from largesse.report.sections import sections
from largesse.report.table import trust_table
from tests.common.results import bare, mix, results, trusted

NASTY = "<script>alert('x')</script> \"quoted\" & $5 | 50 % </style>"
SECTIONS = {
    "data": "Is the data sound?",
    "curve": "What each budget buys",
    "budgets": "Value at budgets",
    "models": "Which model, and why",
    "trust": "How far the past campaign data can be trusted",
    "mix": "Who gets what, and what that brings",
    "clusters": "The clusters",
    "spend": "Planned and realised spend",
    "made": "How it was made",
    "cautions": "Limitations",
}


def summary_of(shown: report.Results, pictures: Sequence[str] = ()) -> str:
    return markdown(shown.headline, sections(shown), pictures)


class Balanced(HTMLParser):
    """Fails on a tag that is closed twice, in the wrong order or never."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def own(html: str) -> str:
    """The page without plotly.js."""
    return re.sub(r"<script>/\*\*.*?</script>", "", html, flags=re.DOTALL)


def parsed(html: str) -> Balanced:
    parser = Balanced()
    parser.feed(own(html))
    parser.close()
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    return parser


@pytest.fixture(scope="module")
def html() -> str:
    return page(results())


def test_page_has_every_section_in_order(html: str) -> None:
    places = [html.index(f"<h2>{title}</h2>") for title in SECTIONS.values()]
    assert places == sorted(places)
    assert all(f'id="{anchor}"' in html and f'href="#{anchor}"' in html for anchor in SECTIONS)
    assert html.index("With 60 % of the cash") < places[0]


def test_page_loads_nothing(html: str) -> None:
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?://', html)
    assert not re.search(r'(src|href)="(?!#)', own(html))
    assert "default-src &#39;none&#39;" in html
    assert html.count("* plotly.js (basic - minified) v") == 1


def test_page_is_light(html: str) -> None:
    assert len(html.encode()) <= 1_500_000


def test_page_is_balanced(html: str) -> None:
    seen = parsed(html).seen
    assert {"header", "nav", "main", "section", "figure", "figcaption", "table", "caption", "details"} - {
        "caption"
    } <= set(seen)


def test_figures_are_json_and_every_plot_has_one(html: str) -> None:
    blocks = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', html, flags=re.DOTALL))
    assert set(blocks) == set(re.findall(r'data-figure="([^"]+)"', html))
    assert all(json.loads(block)["data"] for block in blocks.values())
    assert len(blocks) == 11


def test_every_string_is_escaped() -> None:
    text = results()
    nasty = replace(
        text,
        headline=report.Headline(title=NASTY, sentence=NASTY, summary=(NASTY,), action=NASTY),
        value_unit=NASTY,
        money_unit=NASTY,
        head=NASTY,
        reference=NASTY,
        cautions=(NASTY,),
        findings=(Finding(name=NASTY, status="fail", sentence=NASTY),),
        curves=tuple(replace(line, name=NASTY + line.name) for line in text.curves),
        arms=tuple(replace(point, name=NASTY) for point in text.arms),
        budgets=tuple(replace(row, policy=NASTY, budget_label=NASTY) for row in text.budgets),
        leaderboard=report.Leaderboard(
            score=NASTY, reason=NASTY, rows=(report.LeaderboardRow(name=NASTY, score=1.0, note=NASTY),)
        ),
        mix=replace(mix(), title=NASTY, labels=(NASTY,) * 4, treatments=(NASTY,) * 5),
        feature_mixes=(),
        spend=tuple(replace(row, budget_label=NASTY) for row in text.spend),
        provenance=report.Provenance(
            model=NASTY, outcome=NASTY, config=NASTY, versions=((NASTY, NASTY),), rows=((NASTY, 1),), made=NASTY
        ),
    )
    html = page(nasty)
    parsed(html)
    assert "<script>alert" not in html
    assert "alert('x')" not in own(html).replace("\\u0027", "")[: own(html).index("application/json")]
    assert own(html).count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &#34;quoted&#34; &amp; $5") > 20
    summary = summary_of(nasty)
    assert "<script>" not in summary
    assert table_widths(summary)


def table_widths(summary: str) -> list[set[int]]:
    """Numbers of columns in each table: one number where all its lines agree."""
    found: list[set[int]] = []
    for block in summary.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines:
            found.append({len(re.findall(r"(?<!\\)\|", line)) - 1 for line in lines})
    assert all(len(widths) == 1 for widths in found)
    return found


def test_markdown_tables() -> None:
    summary = summary_of(results(), ["cost_curve.png"])
    assert table_widths(summary) == [{3}, {5}, {5}, {5}, {6}, {9}, {6}]
    assert "| 25 % of the cash | network | 0.508 (0.491 to 0.525) | +0.021 (+0.007 to +0.035) | better |" in summary
    assert "| Results collected per person (95 % interval) | Against best mix of arms (95 % interval) |" in summary
    assert re.search(r"\| best mix of arms \| [^|]* to [^|]*\) \| – \| reference \|", summary)
    assert "![Cost curve](cost_curve.png)" in summary
    assert summary.startswith("# HIV results in Malawi")


@pytest.mark.parametrize("missing", ["arms", "curves"])
def test_one_of_curves_and_arms_is_enough_for_a_picture(missing: str, tmp_path: Path) -> None:
    some = replace(results(), **{missing: ()})
    assert "cost_curve.png" in report.write(some, tmp_path)
    assert "What each budget buys" in (tmp_path / "report.html").read_text()


def test_written_files(tmp_path: Path) -> None:
    paths = report.write(results(), tmp_path / "run" / "report")
    pictures = ["cost_curve.png", "value_at_budgets.png", "mix.png"]
    assert list(paths) == ["report.html", "summary.md", "sections.json", *pictures]
    assert sorted(p.name for p in (tmp_path / "run" / "report").iterdir()) == sorted(paths)
    for name in pictures:
        data = paths[name].read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = (int.from_bytes(data[k : k + 4]) for k in (16, 20))
        assert width == 1600
        assert 300 < height < 2400
    # A later report without a mix leaves no old picture behind.
    later = report.write(
        replace(results(), mix=None, feature_mixes=(), curves=(), arms=()), tmp_path / "run" / "report"
    )
    assert list(later) == ["report.html", "summary.md", "sections.json", "value_at_budgets.png"]
    assert sorted(p.name for p in later["report.html"].parent.iterdir()) == sorted(later)


def test_picture(tmp_path: Path) -> None:
    path = report.picture(results(), tmp_path / "curve.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["document", "markdown"])
def test_failure_while_making_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no")

    monkeypatch.setattr(files, broken, fail)
    with pytest.raises(RuntimeError):
        report.write(bare(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_failure_while_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(StoreError, match="report.html: cannot be written .disk full"):
        report.write(bare(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_only_the_headline() -> None:
    html = page(bare())
    assert parsed(html).seen.count("section") == 0
    assert "Plotly" not in html
    assert bare().policy == "policy"
    assert "##" not in summary_of(bare())


@pytest.mark.parametrize(
    ("anchor", "empty"),
    [
        ("data", {"findings": ()}),
        ("curve", {"curves": (), "arms": ()}),
        ("budgets", {"budgets": ()}),
        ("models", {"leaderboard": None}),
        ("trust", {"trust": ()}),
        ("mix", {"mix": None, "feature_mixes": ()}),
        ("clusters", {"clusters": None}),
        ("spend", {"spend": ()}),
        ("made", {"provenance": None}),
        ("cautions", {"cautions": ()}),
    ],
)
def test_an_empty_part_leaves_its_section_out(anchor: str, empty: dict[str, object]) -> None:
    text = results()
    some = replace(replace(text, feature_mixes=text.feature_mixes[:1]), **empty)  # type: ignore[arg-type]
    html = page(some)
    assert f'id="{anchor}"' not in html
    assert f'href="#{anchor}"' not in html
    assert parsed(html).seen.count("section") == len(SECTIONS) - 1
    assert SECTIONS[anchor] not in summary_of(some)


def test_out_of_reach(tmp_path: Path) -> None:
    text = results()
    first, second, *rest = text.budgets
    lost = replace(first, value=nan, low=nan, high=nan, difference=nan, difference_low=nan, difference_high=nan)
    gap = replace(text.curves[0], value=(nan, *text.curves[0].value[1:]), low=(nan, *text.curves[0].low[1:]))
    some = replace(
        text,
        feature_mixes=(),
        budgets=(lost, replace(second, low=nan, high=nan), *rest),
        curves=(gap, *text.curves[1:]),
        arms=(replace(text.arms[0], low=nan), *text.arms[1:]),
        spend=(replace(text.spend[0], realised=nan, low=nan, high=nan, planned_by_model=nan),),
    )
    assert lost.verdict == "out of reach"
    report.write(some, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "<td>out of reach</td>" in html
    assert not re.search(r">[^<]*\bnan\b", own(html), flags=re.IGNORECASE)
    assert "out of reach" in (tmp_path / "summary.md").read_text()
    assert "nan" not in (tmp_path / "summary.md").read_text()


def test_verdicts() -> None:
    row = report.BudgetRow(
        policy="p", budget=1, budget_label="1", value=1, difference=0.5, difference_low=0.1, difference_high=0.9
    )
    assert row.verdict == "better"
    assert replace(row, difference_low=-0.1).verdict == "no clear difference"
    assert replace(row, difference_low=-0.3, difference_high=-0.1).verdict == "worse"
    assert replace(row, difference=None).verdict == "reference"
    assert replace(row, difference=nan).verdict == "out of reach"
    assert replace(row, difference_low=nan, difference_high=nan).verdict == "no clear difference"
    spend = report.SpendRow(
        budget=1, budget_label="1", planned_by_model=1, planned_by_curve=1, realised=1, low=0.9, high=1.1
    )
    assert [
        spend.verdict,
        replace(spend, low=1.05).verdict,
        replace(spend, high=0.95).verdict,
        replace(spend, realised=nan).verdict,
    ] == ["on budget", "over budget", "under budget", "out of reach"]
    # no row with a cost: a spend of exactly 0 whose interval is 0 to 0, although the next row may cost something
    nothing = replace(spend, realised=0.0, low=0.0, high=0.0, events=0.0)
    assert [nothing.verdict, replace(nothing, events=4.9).verdict, replace(nothing, events=5.0).verdict] == [
        "not known", "not known", "under budget",
    ]  # fmt: skip
    assert replace(spend, low=1.05, events=2.0).verdict == "not known"
    assert tuple(row.verdict for row in results().budgets if row.role == "policy") == (
        "better",
        "better",
        "no clear difference",
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: report.CurveLine(name="a", cost=[0, 1], value=[1]), r"len\(value\) == 1: must equal len\(cost\), 2"),
        (lambda: report.CurveLine(name="a", cost=[0, 1], value=[1, 2], low=[0, 1]), "a band needs both ends"),
        (lambda: report.CurveLine(name="a", cost=[0], value=[1], role="hero"), "role == 'hero': must be one of"),
        (lambda: Finding(name="a", status="good", sentence="b"), "status == 'good': must be one of"),
        (lambda: report.MixTable(title="a", labels=["b"], treatments=["c", "d"], shares=[]), r"len\(shares\) == 0"),
        (
            lambda: report.MixTable(title="a", labels=["b"], treatments=["c", "d"], shares=[[1.0]]),
            "2 treatments are named",
        ),
        (
            lambda: report.MixTable(title="a", labels=["b"], treatments=["c", "d"], shares=[[0.7, 0.7]]),
            "must be >= 0 and sum to one",
        ),
        (lambda: replace(results(), level=95), "level == 95: must be a finite number"),
    ],
)
def test_refusals(make: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (numbers.percent_interval(0.94, 0.88, 1.0), "94 % (88 to 100 %)"),
        (numbers.percent_interval(0.1234, 0.1201, 0.1267), "12.34 % (12.01 to 12.67 %)"),
        (numbers.percent_interval(nan, nan, nan), "out of reach"),
        (numbers.interval(1234.5, 1200, 1269), "1,234 (1,200 to 1,269)"),
        (numbers.interval(0.02, -0.01, 0.05, sign=True), "+0.020 (−0.010 to +0.050)"),
        (numbers.interval(2.0, nan, nan), "2.00"),
        (numbers.number(-0.0001, decimals=2, sign=True), "0.00"),
        (numbers.number(float("inf")), "∞"),
        (numbers.number(3e-12), "0.00000000"),
        (numbers.between(nan, 1.0), "–"),
        (numbers.percent(nan), "out of reach"),
        (numbers.duration(59.96), "60 s"),
    ],
)
def test_numbers(got: str, wanted: str) -> None:
    assert got == wanted


def test_strange_texts_in_pictures(tmp_path: Path) -> None:
    text = results()
    curves = (replace(text.curves[0], name="_$5 off $10_ 优惠券"), *text.curves[1:])
    assert report.picture(replace(text, curves=curves, value_unit="$orders$"), tmp_path / "a.png").exists()


def test_what_is_not_known_of_a_log_has_no_column():
    table = trust_table(results().trust, 0.95)
    assert len(table.columns) == 5
    assert table.rows[1].cells == (
        "5 USD", "33,000", "4,500", "+0.0200 (+0.0160 to +0.0240)", "+0.0050 (−0.0040 to +0.0140)"
    )  # fmt: skip
    gated = tuple(
        replace(row, effective_rows=nan, residual_bias=nan, gate=0.5, gate_low=0.41, gate_high=0.6) for row in trusted()
    )
    table = trust_table(gated, 0.95)
    assert [c.name for c in table.columns][1:] == [
        "Rows of the log", "Raw bias (95 % interval)", "Gate (90 % of units)"
    ]  # fmt: skip
    assert table.rows[0].cells[-1] == "0.50 (0.41 to 0.60)"
    assert "0.50 (0.41 to 0.60)" in page(replace(results(), trust=gated))


def test_amounts_read_well_where_the_unit_of_money_is_not_declared(tmp_path: Path) -> None:
    shown = replace(results(), money_unit="")
    assert (shown.spend_label, shown.spend_name, shown.spend_axis) == (
        "per person",
        "Spend per person",
        "Spend per person",
    )
    assert replace(shown, money_unit="EUR").spend_axis == "EUR per person spent"
    report.write(shown, tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert re.findall(r"[^|.]*money[^|.]*", text) == [" No control row costs money"]
    assert "Spend per person" in text


def test_backticks_are_code_on_a_page_and_still_escaped():
    headline = replace(bare().headline, action="Run `largesse init <b>` and `x.")
    html = page(replace(bare(), headline=headline, cautions=("See `a & b`.",)))
    assert "Run <code>largesse init &lt;b&gt;</code> and `x." in html
    assert "<li>See <code>a &amp; b</code>.</li>" in html
    assert "<b>`" not in html


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.00001, "< 0.0001"), (0.0001, "0.0001"), (0.04567, "0.046"), (1.0, "1"), (nan, "–"), (0.0, "< 0.0001")],
)
def test_a_p_value_has_no_exponent(p: float, shown: str):
    assert numbers.p_value(p) == shown
