"""What a policy is worth, from rows assigned at random: outcome curves, comparisons, rankings; and checks of the rows."""

from largesse.evaluate.bootstrap import arm_means, mix_value
from largesse.evaluate.checks import (
    Finding,
    Soundness,
    balance,
    check,
    menu_bias,
    outcome_bias,
    overlap,
    sample_ratio,
)
from largesse.evaluate.compare import Bootstrap, Comparison, EffectShare, compare, effect_share
from largesse.evaluate.curve import OutcomeCurve, outcome_curve
from largesse.evaluate.power import Power, power
from largesse.evaluate.ranking import (
    CostCurve,
    aucc,
    auuc,
    cost_curve,
    marginal_roi,
    mt_aucc,
    mt_cost_curve,
    qini,
    roi_score,
)
from largesse.evaluate.truth import attainable_gain, true_value

__all__ = [
    "Bootstrap",
    "Comparison",
    "CostCurve",
    "EffectShare",
    "Finding",
    "OutcomeCurve",
    "Power",
    "Soundness",
    "arm_means",
    "attainable_gain",
    "aucc",
    "auuc",
    "balance",
    "check",
    "compare",
    "cost_curve",
    "effect_share",
    "marginal_roi",
    "menu_bias",
    "mix_value",
    "mt_aucc",
    "mt_cost_curve",
    "outcome_bias",
    "outcome_curve",
    "overlap",
    "power",
    "qini",
    "roi_score",
    "sample_ratio",
    "true_value",
]
