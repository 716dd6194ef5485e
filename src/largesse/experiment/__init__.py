"""What an online experiment has brought: STATE and mean-based estimators side by side, and whether they agree."""

from largesse.experiment.assign import assign
from largesse.experiment.columns import Columns, Metric, history_of
from largesse.experiment.contrast import Contrast, contrast
from largesse.experiment.crossfit import CrossFit, cross_fit
from largesse.experiment.design import PlanRow, Promise, TestPlan, check_test, plan_test, promise
from largesse.experiment.effect import METHODS, Effect
from largesse.experiment.guard import Guard, guard
from largesse.experiment.looks import AlwaysValid, always_valid, boundaries, inflation
from largesse.experiment.means import means
from largesse.experiment.measure import Measured, Measurement, Settings, measure, measure_sample
from largesse.experiment.metrics import Cupac, Mlrate, State
from largesse.experiment.replay import Replay, replay
from largesse.experiment.sample import Batches, Sample
from largesse.experiment.soundness import soundness
from largesse.experiment.tails import Tails, tails

__all__ = [
    "METHODS",
    "AlwaysValid",
    "Batches",
    "Columns",
    "Contrast",
    "CrossFit",
    "Cupac",
    "Effect",
    "Guard",
    "Measured",
    "Measurement",
    "Metric",
    "Mlrate",
    "PlanRow",
    "Promise",
    "Replay",
    "Sample",
    "Settings",
    "State",
    "Tails",
    "TestPlan",
    "always_valid",
    "assign",
    "boundaries",
    "check_test",
    "contrast",
    "cross_fit",
    "guard",
    "history_of",
    "inflation",
    "means",
    "measure",
    "measure_sample",
    "plan_test",
    "promise",
    "replay",
    "soundness",
    "tails",
]
