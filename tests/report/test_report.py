"""The report: every section, nothing loaded, everything escaped, whole files only."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from math import nan
from pathlib import Path

import numpy as np
import pytest

from largesse import report
from largesse.checks import Finding
from largesse.errors import DataError, StoreError
from largesse.report import charts, files, numbers
from largesse.report.markdown import markdown
from largesse.report.page import page
from largesse.report.sections import sections
from largesse.report.style import dot_rows, treatment_colours
from largesse.report.table import trust_table

NASTY = "<script>alert('x')</script> \"quoted\" & $5 | 50 % </style>"
SECTIONS = {
    "data": "Is the data sound?",
    "curve": "What each budget buys",
    "budgets": "Value at budgets",
    "models": "Which model, and why",
    "trust": "How far the past campaign data can be trusted",
    "mix": "Who gets what",
    "clusters": "The clusters",
    "spend": "Planned and realised spend",
    "made": "How it was made",
    "cautions": "Limitations",
}
TREATMENTS = ("nothing", "5 USD", "10 USD", "15 USD", "20 USD")


def curves() -> tuple[report.CurveLine, ...]:
    cost = np.linspace(0, 0.9, 60)
    value = 0.42 + 0.21 * (1 - np.exp(-3.4 * cost))
    wide = 0.011 + 0.004 * cost
    return (
        report.CurveLine(name="boosted trees", cost=cost, value=value, low=value - wide, high=value + wide),
        report.CurveLine(name="best mix of arms", cost=cost, value=0.42 + 0.19 * (cost / 0.9) ** 0.75, role="baseline"),
        report.CurveLine(name="network", cost=cost, value=value - 0.012 * np.sin(3 * cost), role="candidate"),
        report.CurveLine(name="decision-focused", cost=cost, value=value - 0.02 * np.sin(3.2 * cost), role="candidate"),
    )


def budgets() -> tuple[report.BudgetRow, ...]:
    rows: list[report.BudgetRow] = []
    for share, gain, wide in ((0.25, 0.031, 0.014), (0.5, 0.024, 0.013), (0.75, 0.009, 0.012)):
        place = {"budget": 0.9 * share, "budget_label": f"{share:.0%} of the cash".replace("%", " %")}
        base = 0.42 + 0.19 * share**0.75
        paired = {"difference_low": gain - wide, "difference_high": gain + wide}
        rows += [
            report.BudgetRow(
                policy="boosted trees",
                value=base + gain,
                low=base + gain - 0.017,
                high=base + gain + 0.017,
                difference=gain,
                **paired,
                **place,
            ),
            report.BudgetRow(
                policy="network",
                value=base + gain - 0.01,
                low=base + gain - 0.027,
                high=base + gain + 0.007,
                difference=gain - 0.01,
                difference_low=gain - 0.01 - wide,
                difference_high=gain - 0.01 + wide,
                role="candidate",
                **place,
            ),
            report.BudgetRow(
                policy="best mix of arms", value=base, low=base - 0.016, high=base + 0.016, role="baseline", **place
            ),
        ]
    return tuple(rows)


def mix(
    title: str = "Budget",
    labels: tuple[str, ...] = ("10 % of the cash", "25 % of the cash", "50 % of the cash", "75 % of the cash"),
) -> report.MixTable:
    weights = np.array(
        [[np.exp(-0.5 * (j - 3.6 * k / len(labels)) ** 2) for j in range(5)] for k in range(len(labels))]
    )
    return report.MixTable(
        title=title, labels=labels, treatments=TREATMENTS, shares=weights / weights.sum(axis=1, keepdims=True)
    )


def trusted() -> tuple[report.TrustRow, ...]:
    return tuple(
        report.TrustRow(
            treatment=name, rows=40_000 - 7_000 * j, effective_rows=9_000 / (j + 1), raw_bias=0.02 * j,
            raw_bias_low=0.02 * j - 0.004, raw_bias_high=0.02 * j + 0.004, residual_bias=0.005 * j,
            residual_bias_low=0.005 * j - 0.009, residual_bias_high=0.005 * j + 0.009,
        )
        for j, name in enumerate(TREATMENTS)
    )  # fmt: skip


def clusters() -> report.Clusters:
    traits = (
        report.Trait(feature="distance to the clinic", inside=3.4, everywhere=1.9, difference=1.3),
        report.Trait(feature="sex = women", inside=0.72, everywhere=0.51, difference=0.42, share=True),
    )
    cards = []
    for k, (share, lift) in enumerate([(0.4, 0.05), (0.35, 0.12), (0.25, 0.01)]):
        value = tuple((0.4 + lift * j, 0.37 + lift * j, 0.43 + lift * j) for j in range(len(TREATMENTS)))
        cost = tuple((0.2 * j, 0.19 * j, 0.21 * j) for j in range(len(TREATMENTS)))
        some = traits[: 2 - k] if k < 2 else ()
        rows = round(1900 * share)
        cards.append(report.ClusterCard(name=str(k), share=share, rows=rows, traits=some, value=value, cost=cost))
    return report.Clusters(cards=tuple(cards), treatments=TREATMENTS, total=5, model="hrc", chosen=False)


def results() -> report.Results:
    arms = [(0.0, 0.42), (0.21, 0.49), (0.43, 0.545), (0.66, 0.58), (0.9, 0.61)]
    return report.Results(
        headline=report.Headline(
            title="HIV results in Malawi: who gets which incentive",
            sentence="With 60 % of the cash, this policy keeps 94 % of the effect (95 % interval 88 to 100 %).",
            summary=(
                "It was learned from 1,900 people and proved on 950 it never saw.",
                "At half of the cash it collects 2.4 more results per 100 people than the best mix of flat offers "
                "(95 % interval 1.1 to 3.7).",
            ),
            action="Ship the policy at 60 % of the cash, keep 5 % of people in a random holdout, "
            "and read the experiment after six weeks.",
        ),
        value_unit="results collected",
        money_unit="USD",
        head="person",
        findings=(
            Finding(
                name="sample ratio", status="ok", sentence="The arms have the shares that were planned (p = 0.41)."
            ),
            Finding(
                name="balance",
                status="warn",
                sentence="The feature 'distance' differs between arms (p = 0.004). Keep it among the features.",
            ),
            Finding(name="cost of control", status="ok", sentence="No control row costs money."),
        ),
        curves=curves(),
        arms=tuple(
            report.ArmPoint(
                name="no one" if j == 0 else f"everyone gets {TREATMENTS[j]}",
                cost=c,
                value=v,
                low=v - 0.02,
                high=v + 0.02,
                control=j == 0,
            )
            for j, (c, v) in enumerate(arms)
        ),
        budgets=budgets(),
        leaderboard=report.Leaderboard(
            score="results per person at 50 % of the cash",
            reason="Boosted trees led on validation rows at three budgets of four and spent what they planned.",
            rows=(
                report.LeaderboardRow(
                    name="boosted trees",
                    score=0.561,
                    low=0.54,
                    high=0.582,
                    chosen=True,
                    seconds=4.2,
                    note="log-loss, cost rule",
                ),
                report.LeaderboardRow(name="network", score=0.553, low=0.531, high=0.575, seconds=38),
                report.LeaderboardRow(
                    name="decision-focused",
                    score=0.549,
                    low=0.526,
                    high=0.572,
                    seconds=97,
                    note="not adopted: no paired gain",
                ),
            ),
        ),
        trust=trusted(),
        mix=mix(),
        feature_mixes=(
            mix("distance to the clinic", ("0 to 1 km", "1 to 2 km", "2 to 3 km", "over 3 km")),
            mix("sex", ("women", "men")),
            mix("age", ("15 to 24", "25 to 34", "35 to 49", "50 and over")),
            mix("married", ("no", "yes")),
        ),
        clusters=clusters(),
        spend=tuple(
            report.SpendRow(
                budget=0.9 * s,
                budget_label=f"{100 * s:.0f} % of the cash",
                planned_by_model=0.9 * s * (1.14 - 0.1 * s),
                planned_by_curve=0.9 * s * 0.985,
                realised=0.9 * s * r,
                low=0.9 * s * (r - 0.06),
                high=0.9 * s * (r + 0.06),
            )
            for s, r in ((0.25, 1.02), (0.5, 0.98), (0.75, 1.09))
        ),
        provenance=report.Provenance(
            model="LightGBM on the trial, per-arm recalibration.",
            outcome="Value is bernoulli; cost follows the rule per redemption (amounts 0, 5, 10, 15, 20).",
            config='seed = 7\n\n[data]\nrct = "trial.csv"\n',
            seed=7,
            versions={"largesse": "0.1.0", "python": "3.11.9"},
            rows={"rows to learn": 1900, "rows to prove": 950},
            seconds=74.2,
            made="2 May 2025, 14:10",
        ),
        cautions=(
            "Values are per person and period; effects that build up over time were not measured.",
            "People talk: effects of one person's coupon on another were not modelled.",
        ),
    )


def summary_of(shown: report.Results, pictures: Sequence[str] = ()) -> str:
    return markdown(shown.headline, sections(shown), pictures)


def bare() -> report.Results:
    return report.Results(headline=results().headline, value_unit="orders", money_unit="EUR")


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
    assert html.count("plotly.js v") == 1


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
    assert table_widths(summary) == [{3}, {7}, {6}, {5}, {6}, {9}, {7}]
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
    assert list(paths) == ["report.html", "summary.md", *pictures]
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
    assert list(later) == ["report.html", "summary.md", "value_at_budgets.png"]
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


def test_same_policy_same_colour() -> None:
    figures = (charts.cost_chart(results()), charts.budget_chart(results()))
    curve = {trace.name: trace.line.color for trace in figures[0].data if trace.mode == "lines" and trace.line.color}
    dots = {trace.name: trace.marker.color for trace in figures[1].data}
    assert all(curve[name] == colour for name, colour in dots.items())
    assert len(set(curve.values())) == len(curve)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_treatments_have_different_colours(n: int) -> None:
    assert len(set(treatment_colours(n))) == n


def test_dots_do_not_cross_groups() -> None:
    pairs = [(group, name) for group in "ab" for name in "pqrstuvwxyz"]
    heights, ticks = dot_rows(pairs)
    assert len(set(heights)) == len(pairs)
    assert all(abs(height - ticks[group]) < 0.5 for height, (group, _) in zip(heights, pairs, strict=True))


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
