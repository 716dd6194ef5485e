from .soundness import (
    Finding as Finding,
)
from .soundness import (
    Soundness as Soundness,
)
from .soundness import (
    balance as balance,
)
from .soundness import (
    check as check,
)
from .soundness import (
    menu_bias as menu_bias,
)
from .soundness import (
    outcome_bias as outcome_bias,
)
from .soundness import (
    overlap as overlap,
)
from .soundness import (
    sample_ratio as sample_ratio,
)
from .trial_power import (
    Power as Power,
)
from .trial_power import (
    power as power,
)

__all__ = [
    "Finding",
    "Power",
    "Soundness",
    "balance",
    "check",
    "menu_bias",
    "outcome_bias",
    "overlap",
    "power",
    "sample_ratio",
]
