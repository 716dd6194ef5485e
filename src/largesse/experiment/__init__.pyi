from .data.columns import (
    Columns as Columns,
)
from .data.columns import (
    Metric as Metric,
)
from .data.columns import (
    history_of as history_of,
)
from .data.crossfit import (
    CrossFit as CrossFit,
)
from .data.crossfit import (
    cross_fit as cross_fit,
)
from .data.sample import (
    Batches as Batches,
)
from .data.sample import (
    Sample as Sample,
)
from .data.soundness import (
    soundness as soundness,
)
from .design.assign import (
    assign as assign,
)
from .design.looks import (
    AlwaysValid as AlwaysValid,
)
from .design.looks import (
    always_valid as always_valid,
)
from .design.looks import (
    boundaries as boundaries,
)
from .design.looks import (
    inflation as inflation,
)
from .design.plan import (
    PlanRow as PlanRow,
)
from .design.plan import (
    Promise as Promise,
)
from .design.plan import (
    TestPlan as TestPlan,
)
from .design.plan import (
    check_test as check_test,
)
from .design.plan import (
    plan_test as plan_test,
)
from .design.plan import (
    promise as promise,
)
from .design.replay import (
    Replay as Replay,
)
from .design.replay import (
    replay as replay,
)
from .estimators.contrast import (
    Contrast as Contrast,
)
from .estimators.contrast import (
    contrast as contrast,
)
from .estimators.effect import (
    METHODS as METHODS,
)
from .estimators.effect import (
    Effect as Effect,
)
from .estimators.guard import (
    Guard as Guard,
)
from .estimators.guard import (
    guard as guard,
)
from .estimators.means import (
    means as means,
)
from .estimators.tails import (
    Tails as Tails,
)
from .estimators.tails import (
    tails as tails,
)
from .measurement import (
    Measured as Measured,
)
from .measurement import (
    Measurement as Measurement,
)
from .measurement import (
    Settings as Settings,
)
from .measurement import (
    measure as measure,
)
from .measurement import (
    measure_sample as measure_sample,
)
from .metrics import (
    Cupac as Cupac,
)
from .metrics import (
    Mlrate as Mlrate,
)
from .metrics import (
    State as State,
)

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
