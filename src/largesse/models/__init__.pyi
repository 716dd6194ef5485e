from .base import (
    Model as Model,
)
from .baselines.balanced import (
    CFR as CFR,
)
from .baselines.balanced import (
    DragonNet as DragonNet,
)
from .baselines.debiased import (
    LTD as LTD,
)
from .baselines.debiased import (
    AutoDebias as AutoDebias,
)
from .baselines.distilled import (
    CausE as CausE,
)
from .baselines.distilled import (
    KDFeature as KDFeature,
)
from .baselines.distilled import (
    KDLabel as KDLabel,
)
from .baselines.weighted import (
    DRJT as DRJT,
)
from .baselines.weighted import (
    IPS as IPS,
)
from .bilevel.bidfcl import (
    BiDFCL as BiDFCL,
)
from .bilevel.bridge import (
    Gates as Gates,
)
from .bilevel.levels import (
    Hypergradient as Hypergradient,
)
from .clusters.hrc import (
    HRC as HRC,
)
from .clusters.student import (
    Student as Student,
)
from .decision.dfcl import (
    DFCL as DFCL,
)
from .decision.losses import (
    DIFD as DIFD,
)
from .decision.losses import (
    DPL as DPL,
)
from .decision.losses import (
    PIFD as PIFD,
)
from .decision.losses import (
    PPL as PPL,
)
from .decision.losses import (
    DecisionLoss as DecisionLoss,
)
from .decision.residual import (
    Steered as Steered,
)
from .factors.dhcl import (
    DPM as DPM,
)
from .factors.dhcl import (
    DRM as DRM,
)
from .factors.dhcl import (
    DRP as DRP,
)
from .factors.dhcl import (
    DUM as DUM,
)
from .nets.full_batch import (
    FullBatch as FullBatch,
)
from .nets.hypergradient import (
    Solver as Solver,
)
from .nets.minibatch import (
    Schedule as Schedule,
)
from .nets.tasks import (
    Tasks as Tasks,
)
from .outcome import (
    Outcome as Outcome,
)
from .outcome import (
    Response as Response,
)
from .two_stage.calibrated import (
    Calibrated as Calibrated,
)
from .two_stage.causal_forest import (
    CausalForest as CausalForest,
)
from .two_stage.corrected import (
    Corrected as Corrected,
)
from .two_stage.lightgbm import (
    Boosting as Boosting,
)
from .two_stage.mlp import (
    MLP as MLP,
)
from .two_stage.sklearn import (
    Regressors as Regressors,
)
from .two_stage.stack import (
    Stack as Stack,
)

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
    "Steered",
    "Student",
    "Tasks",
]
