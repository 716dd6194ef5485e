"""The sections of the report of a run, one function each; a section without blocks is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isnan
from typing import Any

from largesse.checks.finding import Finding, Grade
from largesse.report.blocks import (
    Block,
    Bullets,
    Card,
    Cards,
    Chart,
    Code,
    Column,
    Facts,
    Key,
    Row,
    Section,
    Table,
    Text,
    Where,
)
from largesse.report.cluster_cards import Clusters, card_title, cluster_note, response_rows, traits_of
from largesse.report.content import MixTable, Results
from largesse.report.frontier import slider
from largesse.report.numbers import count, duration, percent
from largesse.report.pays import pay_blocks
from largesse.report.provenance import Provenance
from largesse.report.segments import segment_blocks, segment_table
from largesse.report.style import treatment_colours
from largesse.report.table import (
    budget_table,
    cluster_table,
    finding_table,
    leaderboard_table,
    mix_table,
    spend_table,
    trust_table,
)

__all__ = ["closing", "kept", "sections", "soundness_blocks"]


def sections(results: Results) -> list[Section]:
    """Returns the sections of a run's report that have content, in reading order."""
    return kept(
        (
            Section("pay", "Does it pay?", _pay(results)),
            Section("data", "Is the data sound?", soundness_blocks(results.findings)),
            Section("understood", "What was understood", results.understood),
            Section("curve", "What each budget buys", _curve(results)),
            Section("budgets", "Value at budgets", _budgets(results)),
            Section("models", "Which model, and why", _leaderboard(results)),
            Section("trust", "How far the past campaign data can be trusted", _trust(results)),
            Section("mix", "Who gets what, and what that brings", _mix(results)),
            Section("clusters", "The clusters", _clusters(results)),
            Section("spend", "Planned and realised spend", _spend(results)),
            *closing(results.provenance, results.cautions),
        )
    )


def kept(parts: Iterable[Section]) -> list[Section]:
    """Returns the sections that have blocks."""
    return [part for part in parts if part.blocks]


def soundness_blocks(findings: Sequence[Finding]) -> list[Block]:
    """Returns a sentence that says whether the data is sound, and the table of checks."""
    if not findings:
        return []
    failed, doubtful = ([f.name for f in findings if f.status is s] for s in (Grade.FAIL, Grade.WARN))
    if failed:
        answer = f"Not yet. Explain {_and(failed)} before you rely on any number below."
    elif doubtful:
        answer = f"Yes, but look at {_and(doubtful)}."
    else:
        answer = f"Yes. All {len(findings)} checks passed." if len(findings) > 1 else "Yes. The check passed."
    return [Text(answer), finding_table(findings)]


def _pay(results: Results) -> list[Block]:
    if results.pay is None:
        return []
    words: dict[str, Any] = {
        "value": results.value_unit,
        "money": results.money_unit,
        "head": results.head,
        "level": results.level,
    }
    blocks = pay_blocks(results.pay, **words, ours=results.policy)
    return blocks if results.pay.frontier is None else [*blocks, slider(results.pay, results.pay.frontier, **words)]


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def closing(made: Provenance | None, cautions: Sequence[str]) -> tuple[Section, Section]:
    """Returns the sections that end every report: how it was made, and its limitations."""
    return (
        Section("made", "How it was made", [] if made is None else _made(made)),
        Section("cautions", "Limitations", [Bullets(tuple(cautions))] if cautions else []),
    )


def _made(made: Provenance) -> list[Block]:
    facts = (
        ("Model", made.model), ("Outcome", made.outcome), ("Made", made.made),
        ("Rows", ", ".join(f"{count(n)} {what}" for what, n in dict(made.rows).items())),
        ("Run time", "" if isnan(made.seconds) else duration(made.seconds)),
        ("Seed", "" if made.seed is None else str(made.seed)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in dict(made.versions).items())),
    )  # fmt: skip
    known = Facts(tuple(fact for fact in facts if fact[1]))
    return [known, Code("Configuration", made.config)] if made.config else [known]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _chart(draw: Callable[[Any], Any]) -> Callable[[], Any]:
    """Returns a function that makes a figure with the module of the charts: Plotly is loaded only where a page is made."""

    def make() -> Any:
        from largesse.report import charts

        return draw(charts)

    return make


def _curve(results: Results) -> list[Block]:
    if not (results.curves or results.arms):
        return []
    level = percent(results.level)
    caption = (
        "How to read it: higher is more valuable, further left is cheaper. The thick line is the value of the policy at each "
        f"budget, the band its {level} interval. Grey marks: one treatment for everyone, with {level} intervals. "
        + ("Dotted lines are the budgets of the next section. " if results.budgets else "")
        + "Lines whose bands overlap may still differ: see the paired differences in the next section."
    )
    what = f"Cost curve: {results.value_label} against {results.spend_name}"
    return [
        Chart(name="curve", label=what, figure=_chart(lambda c: c.cost_chart(results)), caption=caption, title="Cost curve",
              picture="cost_curve.png")
    ]  # fmt: skip


def _budgets(results: Results) -> list[Block]:
    if not results.budgets:
        return []
    caption = (
        f"How to read it: dots are estimates on held-out rows, bars their {percent(results.level)} intervals. On the right, a "
        f"bar entirely right of zero means better than the {results.reference}; a bar that crosses zero means that these rows "
        "do not show which is better. After an interval: the effective number of events that it rests on."
    )
    chart = Chart(
        name="budgets", label=f"{results.value_label} at each budget", figure=_chart(lambda c: c.budget_chart(results)),
        caption=caption, title="Value at budgets", picture="value_at_budgets.png",
    )  # fmt: skip
    table = budget_table(
        results.budgets, value=_capital(results.value_label), spend=results.spend_label, level=results.level,
        reference=results.reference, ours=results.policy,
    )  # fmt: skip
    return [chart, table, *([Text(results.budget_note, quiet=True)] if results.budget_note else [])]


def _leaderboard(results: Results) -> list[Block]:
    board = results.leaderboard
    if board is None or not board.rows:
        return []
    note = "The scores are too high: the same validation rows chose the model. The sections above use held-out rows instead."
    return [
        *([Text(board.reason)] if board.reason else []),
        leaderboard_table(board, results.level),
        Text(note, quiet=True),
    ]


_TRUST = (
    "Effective sample size: so many rows of a trial are as precise as the rows of the log, weighted to represent all units. Raw "
    "bias: mean value in the log less that in the trial. Residual bias: mean prediction, by a model of the log alone, for the "
    "units of the trial, less their observed mean; features do not explain this bias. A bias that all treatments share does not "
    "change decisions. Gate: weight of the pseudo-labels in the bi-level model, for treatments that were not given; mean over "
    "units, and the range of 90 % of the units."
)


def _trust(results: Results) -> list[Block]:
    return [trust_table(results.trust, results.level), Text(_TRUST, quiet=True)] if results.trust else []


def _mix(results: Results) -> list[Block]:
    tables = ([results.mix] if results.mix else []) + list(results.feature_mixes)
    units: dict[str, Any] = {
        "value": results.value_unit,
        "money": results.money_unit,
        "head": results.head,
        "level": results.level,
    }
    own = segment_blocks(results.segments, **units) if results.segments else []
    if not tables:
        return own
    blocks: list[Block] = [_key(tables[0])]
    if results.mix:
        blocks += [_mix_chart(results.mix, "mix", picture="mix.png"), mix_table(results.mix)]
    cards = []
    for k, table in enumerate(results.feature_mixes):
        key = [_key(table)] if table.treatments != tables[0].treatments else []
        made = results.feature_segments[k : k + 1]
        brought = [segment_table(one, **units, brief=True) for one in made]
        cards.append(Card(f"By {table.title}", (*key, _mix_chart(table, f"feature-{k}"), *brought, mix_table(table))))
    return [*blocks, *own, Cards(tuple(cards))] if cards else [*blocks, *own]


def _mix_chart(table: MixTable, name: str, picture: str = "") -> Chart:
    caption = table.caption or (
        "How to read it: each bar shows all units at one budget, by treatment." if picture else ""
    )
    return Chart(
        name=name, label=f"Who gets what by {table.title}", figure=_chart(lambda c: c.mix_chart(table)), caption=caption,
        title="Who gets what", picture=picture,
    )  # fmt: skip


def _key(table: MixTable) -> Key:
    return Key(tuple(zip(table.treatments, treatment_colours(len(table.treatments)), strict=True)))


def _clusters(results: Results) -> list[Block]:
    clusters = results.clusters
    if clusters is None:
        return []
    ends = f"{percent(results.level)} interval"
    head = (
        Column("Treatment", words=True), Column(_capital(results.value_label)), Column(ends, quiet=True),
        Column(_capital(results.spend_name)), Column(ends, quiet=True),
    )  # fmt: skip
    cards = [_cluster_card(clusters, k, head, results.value_label) for k in range(len(clusters.cards))]
    return [
        Text(cluster_note(clusters, results.level), quiet=True),
        Cards(tuple(cards)),
        cluster_table(clusters, results.level),
    ]


def _cluster_card(clusters: Clusters, k: int, head: tuple[Column, ...], value: str) -> Card:
    card = clusters.cards[k]
    title = card_title(card)
    chart = Chart(
        name=f"cluster-{k}",
        label=f"{title}: {value} by treatment",
        figure=_chart(lambda c: c.cluster_chart(clusters, card)),
    )
    numbers = Table(columns=head, rows=tuple(map(Row, response_rows(clusters, card))), folded=True)
    return Card(title, (Text(traits_of(card)), chart, numbers))


def _spend(results: Results) -> list[Block]:
    if not results.spend:
        return []
    caption = (
        "How to read it: the grey line is the budget; the bar of the realised spend should cover it. The spend curve was "
        "calibrated on trial rows; the spend planned by the model shows its error without that calibration."
    )
    chart = Chart(
        name="spend", label="Spend as a share of the budget", figure=_chart(lambda c: c.spend_chart(results)),
        caption=caption, where=Where.PAGE,
    )  # fmt: skip
    return [chart, spend_table(results)]
