from .curve import (
    Estimate as Estimate,
)
from .curve import (
    PriceCurve as PriceCurve,
)
from .deployed import (
    Allocation as Allocation,
)
from .deployed import (
    Policy as Policy,
)
from .held_out import (
    Realised as Realised,
)
from .held_out import (
    realised as realised,
)
from .saved import (
    SAVED_MODELS as SAVED_MODELS,
)

__all__ = [
    "SAVED_MODELS",
    "Allocation",
    "Estimate",
    "Policy",
    "PriceCurve",
    "Realised",
    "realised",
]
