"""Results → one self-contained web page, pictures and a Markdown summary.

The caller fills the frozen parts of `Results` with numbers and words; `write` lays them out.

>>> words = Headline(title="Spring coupons", sentence="At half of the money the policy keeps 90 % of the orders.")
>>> Results(headline=words, value_unit="orders", money_unit="USD").value_label
'orders per head'
"""

from __future__ import annotations

from largesse.report.clusters import ClusterCard, Clusters, Trait
from largesse.report.content import (
    ArmPoint,
    BudgetRow,
    CurveLine,
    Finding,
    Headline,
    League,
    LeagueRow,
    MixTable,
    Provenance,
    Results,
    SpendRow,
    TrustRow,
)
from largesse.report.effects import EffectRow, Effects, InfluenceRow, VerdictRow, write_effects
from largesse.report.files import Written, picture, write
from largesse.report.plans import PlanPage, RuleRow, write_plan

__all__ = [
    "ArmPoint",
    "BudgetRow",
    "ClusterCard",
    "Clusters",
    "CurveLine",
    "EffectRow",
    "Effects",
    "Finding",
    "Headline",
    "InfluenceRow",
    "League",
    "LeagueRow",
    "MixTable",
    "PlanPage",
    "Provenance",
    "Results",
    "RuleRow",
    "SpendRow",
    "Trait",
    "TrustRow",
    "VerdictRow",
    "Written",
    "picture",
    "write",
    "write_effects",
    "write_plan",
]
