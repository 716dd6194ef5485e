from .cluster_cards import ClusterCard, Clusters, Trait
from .content import (
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
from .effects import EffectRow, Effects, InfluenceRow, VerdictRow, write_effects
from .files import Written, picture, write
from .plans import write_plan

__all__ = [
    "ArmPoint", "BudgetRow", "ClusterCard", "Clusters", "CurveLine", "EffectRow", "Effects", "Finding", "Headline",
    "InfluenceRow", "League", "LeagueRow", "MixTable", "Provenance", "Results", "SpendRow", "Trait", "TrustRow",
    "VerdictRow", "Written", "picture", "write", "write_effects", "write_plan",
]  # fmt: skip
