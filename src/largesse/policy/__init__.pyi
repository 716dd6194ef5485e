from .curve import PriceCurve
from .deployed import Allocation, Policy
from .held_out import Realised, realised
from .safety import Estimate
from .saved import SAVED_MODELS

__all__ = [
    "SAVED_MODELS", "Allocation", "Estimate", "Policy", "PriceCurve", "Realised", "realised",
]  # fmt: skip
