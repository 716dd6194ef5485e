from .allocate.budget_frontier import frontier
from .allocate.price_intervals import intervals
from .allocate.solver import solve
from .checks.soundness import check
from .evaluate.comparison import compare
from .evaluate.curve import outcome_curve
from .frames.encoder import Encoder
from .frames.reading import read
from .logs import Logs
from .menu import Menu, Plan
from .models.bilevel.bidfcl import BiDFCL
from .models.decision.dfcl import DFCL
from .models.decision.losses import DIFD, DPL, PIFD, PPL
from .models.decision.residual import DecisionResidual
from .models.factors.dhcl import DPM, DRM, DRP, DUM
from .models.outcome import Outcome
from .models.two_stage.calibrated import Calibrated
from .models.two_stage.corrected import Corrected
from .models.two_stage.lightgbm import Boosting
from .models.two_stage.mlp import MLP
from .models.two_stage.sklearn import Regressors
from .models.two_stage.stack import Stack
from .policy.deployed import Policy
from .roles import Roles

__version__: str
__all__ = [
    "DFCL",
    "DIFD",
    "DPL",
    "DPM",
    "DRM",
    "DRP",
    "DUM",
    "MLP",
    "PIFD",
    "PPL",
    "BiDFCL",
    "Boosting",
    "Calibrated",
    "Corrected",
    "DecisionResidual",
    "Encoder",
    "Logs",
    "Menu",
    "Outcome",
    "Plan",
    "Policy",
    "Regressors",
    "Roles",
    "Stack",
    "check",
    "compare",
    "frontier",
    "intervals",
    "outcome_curve",
    "read",
    "solve",
]  # fmt: skip
