from .advice import Advice, advise, advise_spending
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
    TrustRow,
)
from .effects import EffectRow, Effects, InfluenceRow, VerdictRow, write_effects
from .files import picture, write
from .pays import Frontier, Pay, PayRow
from .plans import write_plan
from .provenance import Provenance
from .spend import SpendRow, SpendVerdict

__all__ = [
    "Advice", "ArmPoint", "BudgetRow", "ClusterCard", "Clusters", "CurveLine", "EffectRow", "Effects", "Frontier", "Headline",
    "InfluenceRow", "Leaderboard", "LeaderboardRow", "MixTable", "Pay", "PayRow", "Provenance", "Results", "SpendRow",
    "SpendVerdict", "Trait", "TrustRow", "VerdictRow", "advise", "advise_spending", "picture", "write",
    "write_effects", "write_plan",
]  # fmt: skip
