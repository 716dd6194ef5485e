"""The demonstration: Thornton's trial of cash offers for collecting a test result."""

from __future__ import annotations

import tempfile
from pathlib import Path

from largesse import datasets, frames
from largesse.commands.fit import Run, fit
from largesse.config import Config
from largesse.progress import Say

__all__ = ["CAUTION", "STORY", "make"]

CAUTION = (
    "Offers were drawn within villages, and the shares of the levels differ between them (chi-square p < 1e-14). The "
    "evaluation uses the shares of the whole trial; weighting within villages instead moves the arms' means by up to 0.02. "
    "The village is therefore no feature here."
)

STORY = (
    "Malawi, 2004: 2,834 people were offered between nothing and 3 USD, at random, to collect the result of a test\n"
    "(Thornton 2008). Cash is the treatment, a collected result the value, and the offer is paid on collection.\n"
    "Who should be offered how much, if the budget is smaller?"
)


def make(folder: Path, say: Say) -> Run:
    """Returns the finished run of the demonstration."""
    trial = datasets.thornton()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "thornton.parquet"
        frames.write(trial.table, path)
        config = Config.model_validate(
            {
                "data": {"rct": str(path)},
                "columns": {
                    "treatment": trial.treatment, "value": trial.value, "cost": trial.cost,
                    "features": ["distance", "age"], "treatments": list(trial.treatments),
                },
                "outcome": {"cost": "per_redemption", "amounts": offers(trial), "ordered": True},
                "budget": {"shares": [0.2, 0.4, 0.6, 0.8]},
                "report": {"title": "Cash for collecting a test result (Thornton's trial)", "value_unit": "results collected",
                           "money_unit": "USD", "head": "person"},
            }
        )  # fmt: skip
        return fit(config, folder=folder, replace=True, say=say, cautions=(CAUTION,))


def offers(trial: datasets.Dataset) -> dict[str, float]:
    """Returns the mean offer of each level among those who collected: the face value of the level."""
    level, paid, collected = (trial.table[name].to_numpy() for name in (trial.treatment, trial.cost, trial.value))
    sums = {name: (paid[level == name].sum(), collected[level == name].sum()) for name in trial.treatments}
    return {name: float(paid / people) for name, (paid, people) in sums.items()}
