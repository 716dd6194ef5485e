"""The results of a made-up campaign, with something in every section of the report."""

from __future__ import annotations

import numpy as np

from largesse import report
from largesse.checks import Finding

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


def bare() -> report.Results:
    return report.Results(headline=results().headline, value_unit="orders", money_unit="EUR")
