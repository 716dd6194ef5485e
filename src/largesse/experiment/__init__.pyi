from .data.columns import Columns, Metric, history_of
from .data.crossfit import CrossFit, cross_fit
from .data.sample import Batches, Sample
from .data.soundness import soundness
from .design.assign import assign
from .design.looks import AlwaysValid, always_valid, boundaries, inflation
from .design.plan import PlanRow, Promise, TestPlan, check_test, plan_test, promise
from .design.replay import Replay, replay
from .estimators.contrast import Contrast, contrast
from .estimators.effect import METHODS, Effect
from .estimators.guard import Guard, guard
from .estimators.means import means
from .estimators.tails import Tails, tails
from .measurement import Measured, Measurement, Settings, measure, measure_sample
from .metrics import Cupac, Mlrate, State
from .returns import ArmReturn, returns

__all__ = [
    "METHODS", "AlwaysValid", "ArmReturn", "Batches", "Columns", "Contrast", "CrossFit", "Cupac", "Effect", "Guard", "Measured",
    "Measurement", "Metric", "Mlrate", "PlanRow", "Promise", "Replay", "Sample", "Settings", "State", "Tails",
    "TestPlan", "always_valid", "assign", "boundaries", "check_test", "contrast", "cross_fit", "guard", "history_of",
    "inflation", "means", "measure", "measure_sample", "plan_test", "promise", "replay", "returns", "soundness", "tails",
]  # fmt: skip
