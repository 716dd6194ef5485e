from .advice import Advice, advise
from .cluster_cards import ClusterCard, Clusters, Trait
from .content import (
    ArmPoint,
    BudgetRow,
    CurveLine,
    Headline,
    Leaderboard,
    LeaderboardRow,
    MixTable,
    Results,
    SpendRow,
    SpendVerdict,
    TrustRow,
)
from .effects import EffectRow, Effects, InfluenceRow, VerdictRow, write_effects
from .files import picture, write
from .plans import write_plan
from .provenance import Provenance

__all__ = [
    "Advice", "ArmPoint", "BudgetRow", "ClusterCard", "Clusters", "CurveLine", "EffectRow", "Effects", "Headline",
    "InfluenceRow", "Leaderboard", "LeaderboardRow", "MixTable", "Provenance", "Results", "SpendRow", "SpendVerdict",
    "Trait", "TrustRow", "VerdictRow", "advise", "picture", "write", "write_effects", "write_plan",
]  # fmt: skip
