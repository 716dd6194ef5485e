from .bootstrap import arm_means
from .break_even import BreakEven, break_even
from .comparison import Bootstrap, Comparison, compare
from .cost_curves import CostCurve
from .curve import OutcomeCurve, outcome_curve
from .full_effect import EffectShare, effect_share
from .no_budget import NoBudget, verdicts_with_no_budget
from .ranking_metrics import aucc, auuc, cost_curve, marginal_roi, mt_aucc, mt_cost_curve, qini, roi_score
from .returns import PayVerdict, ReturnRow, Returns, returns, verdicts
from .segments import Leaves, SegmentRow, leaves, segments
from .sequences.betting import BettingSequence
from .sequences.difference import DifferenceSequence
from .sequences.lift import LiftSequence
from .sequences.look import Look, Looks
from .sequences.mean import MeanSequence
from .sequences.scores import policy_scores, policy_weights
from .sequences.sequence import confidence_sequence
from .sequences.spend import EqualSpendSequence
from .truth import attainable_gain, true_value
from .untargeted import mix_value

__all__ = [
    "BettingSequence", "Bootstrap", "BreakEven", "Comparison", "CostCurve", "DifferenceSequence", "EffectShare",
    "EqualSpendSequence", "Leaves", "LiftSequence", "Look", "Looks", "MeanSequence", "NoBudget", "OutcomeCurve", "PayVerdict",
    "ReturnRow", "Returns", "SegmentRow", "arm_means", "attainable_gain", "aucc", "auuc", "break_even", "compare",
    "confidence_sequence", "cost_curve", "effect_share", "leaves", "marginal_roi", "mix_value", "mt_aucc",
    "mt_cost_curve", "outcome_curve", "policy_scores", "policy_weights", "qini", "returns", "roi_score", "segments",
    "true_value", "verdicts", "verdicts_with_no_budget",
]  # fmt: skip
