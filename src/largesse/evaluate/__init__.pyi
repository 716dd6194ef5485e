from .bootstrap import (
    arm_means as arm_means,
)
from .bootstrap import (
    mix_value as mix_value,
)
from .comparison import (
    Bootstrap as Bootstrap,
)
from .comparison import (
    Comparison as Comparison,
)
from .comparison import (
    EffectShare as EffectShare,
)
from .comparison import (
    compare as compare,
)
from .comparison import (
    effect_share as effect_share,
)
from .curve import (
    OutcomeCurve as OutcomeCurve,
)
from .curve import (
    outcome_curve as outcome_curve,
)
from .ranking import (
    CostCurve as CostCurve,
)
from .ranking import (
    aucc as aucc,
)
from .ranking import (
    auuc as auuc,
)
from .ranking import (
    cost_curve as cost_curve,
)
from .ranking import (
    marginal_roi as marginal_roi,
)
from .ranking import (
    mt_aucc as mt_aucc,
)
from .ranking import (
    mt_cost_curve as mt_cost_curve,
)
from .ranking import (
    qini as qini,
)
from .ranking import (
    roi_score as roi_score,
)
from .truth import (
    attainable_gain as attainable_gain,
)
from .truth import (
    true_value as true_value,
)

__all__ = [
    "Bootstrap",
    "Comparison",
    "CostCurve",
    "EffectShare",
    "OutcomeCurve",
    "arm_means",
    "attainable_gain",
    "aucc",
    "auuc",
    "compare",
    "cost_curve",
    "effect_share",
    "marginal_roi",
    "mix_value",
    "mt_aucc",
    "mt_cost_curve",
    "outcome_curve",
    "qini",
    "roi_score",
    "true_value",
]
