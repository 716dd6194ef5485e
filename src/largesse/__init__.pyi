from .allocate.budget_frontier import frontier as frontier
from .allocate.price_intervals import intervals as intervals
from .allocate.solver import solve as solve
from .checks.soundness import check as check
from .evaluate.comparison import compare as compare
from .evaluate.curve import outcome_curve as outcome_curve
from .frames.encoder import Encoder as Encoder
from .logs import Logs as Logs
from .menu import Menu as Menu
from .menu import Plan as Plan
from .models.bilevel.bidfcl import BiDFCL as BiDFCL
from .models.decision.dfcl import DFCL as DFCL
from .models.decision.losses import DIFD as DIFD
from .models.decision.losses import DPL as DPL
from .models.decision.losses import PIFD as PIFD
from .models.decision.losses import PPL as PPL
from .models.decision.residual import Steered as Steered
from .models.factors.dhcl import DPM as DPM
from .models.factors.dhcl import DRM as DRM
from .models.factors.dhcl import DRP as DRP
from .models.factors.dhcl import DUM as DUM
from .models.outcome import Outcome as Outcome
from .models.two_stage.calibrated import Calibrated as Calibrated
from .models.two_stage.corrected import Corrected as Corrected
from .models.two_stage.lightgbm import Boosting as Boosting
from .models.two_stage.mlp import MLP as MLP
from .models.two_stage.sklearn import Regressors as Regressors
from .models.two_stage.stack import Stack as Stack
from .policy.deployed import Policy as Policy
from .roles import Roles as Roles

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
    "Encoder",
    "Logs",
    "Menu",
    "Outcome",
    "Plan",
    "Policy",
    "Regressors",
    "Roles",
    "Stack",
    "Steered",
    "check",
    "compare",
    "frontier",
    "intervals",
    "outcome_curve",
    "solve",
]
