"""What is shipped: a model and a price curve that turns a budget in money into decisions."""

from __future__ import annotations

from largesse.policy.curve import Estimate, PriceCurve
from largesse.policy.deployed import Allocation, Policy
from largesse.policy.held_out import Realised, realised
from largesse.policy.saved import SAVED_MODELS

__all__ = ["SAVED_MODELS", "Allocation", "Estimate", "Policy", "PriceCurve", "Realised", "realised"]
