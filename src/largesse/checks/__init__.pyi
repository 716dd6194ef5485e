from .propensities import propensities
from .soundness import Finding, Soundness, balance, check, menu_bias, outcome_bias, overlap, sample_ratio
from .trial_power import Power, power

__all__ = [
    "Finding", "Power", "Soundness", "balance", "check", "menu_bias", "outcome_bias", "overlap", "power",
    "propensities", "sample_ratio",
]  # fmt: skip
