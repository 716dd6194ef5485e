from .cluster_cards import (
    ClusterCard as ClusterCard,
)
from .cluster_cards import (
    Clusters as Clusters,
)
from .cluster_cards import (
    Trait as Trait,
)
from .content import (
    ArmPoint as ArmPoint,
)
from .content import (
    BudgetRow as BudgetRow,
)
from .content import (
    CurveLine as CurveLine,
)
from .content import (
    Finding as Finding,
)
from .content import (
    Headline as Headline,
)
from .content import (
    League as League,
)
from .content import (
    LeagueRow as LeagueRow,
)
from .content import (
    MixTable as MixTable,
)
from .content import (
    Provenance as Provenance,
)
from .content import (
    Results as Results,
)
from .content import (
    SpendRow as SpendRow,
)
from .content import (
    TrustRow as TrustRow,
)
from .effects import (
    EffectRow as EffectRow,
)
from .effects import (
    Effects as Effects,
)
from .effects import (
    InfluenceRow as InfluenceRow,
)
from .effects import (
    VerdictRow as VerdictRow,
)
from .effects import (
    write_effects as write_effects,
)
from .files import (
    Written as Written,
)
from .files import (
    picture as picture,
)
from .files import (
    write as write,
)
from .plans import (
    PlanPage as PlanPage,
)
from .plans import (
    RuleRow as RuleRow,
)
from .plans import (
    write_plan as write_plan,
)

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
