from .base import Model
from .baselines.balanced import CFR, DragonNet
from .baselines.debiased import LTD, AutoDebias
from .baselines.distilled import CausE, KDFeature, KDLabel
from .baselines.weighted import DRJT, IPS
from .bilevel.bidfcl import BiDFCL
from .bilevel.bridge import Gates
from .bilevel.levels import Hypergradient
from .clusters.hrc import HRC
from .clusters.student import Student
from .decision.dfcl import DFCL
from .decision.losses import DIFD, DPL, PIFD, PPL, DecisionLoss
from .decision.residual import DecisionResidual
from .factors.dhcl import DPM, DRM, DRP, DUM
from .nets.full_batch import FullBatch
from .nets.hypergradient import Solver
from .nets.minibatch import Schedule
from .nets.tasks import Tasks
from .outcome import Outcome, Response
from .two_stage.calibrated import Calibrated
from .two_stage.causal_forest import CausalForest
from .two_stage.corrected import Corrected
from .two_stage.lightgbm import Boosting
from .two_stage.mlp import MLP
from .two_stage.sklearn import Regressors
from .two_stage.stack import Stack

__all__ = [
    "CFR",
    "DFCL",
    "DIFD",
    "DPL",
    "DPM",
    "DRJT",
    "DRM",
    "DRP",
    "DUM",
    "HRC",
    "IPS",
    "LTD",
    "MLP",
    "PIFD",
    "PPL",
    "AutoDebias",
    "BiDFCL",
    "Boosting",
    "Calibrated",
    "CausE",
    "CausalForest",
    "Corrected",
    "DecisionLoss",
    "DecisionResidual",
    "DragonNet",
    "FullBatch",
    "Gates",
    "Hypergradient",
    "KDFeature",
    "KDLabel",
    "Model",
    "Outcome",
    "Regressors",
    "Response",
    "Schedule",
    "Solver",
    "Stack",
    "Student",
    "Tasks",
]  # fmt: skip
