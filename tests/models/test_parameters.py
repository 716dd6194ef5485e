"""Every number that a model takes: one that makes no sense is refused by its name, before anything is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from largesse import models
from largesse.errors import DataError
from largesse.models import MLP, Boosting, Schedule
from tests.common.worlds import orders

SHORT = Schedule(epochs=1)
BASED: dict[str, Any] = {
    "BiDFCL": lambda: models.BiDFCL(MLP(members=1, schedule=SHORT), schedule=SHORT),
    "Calibrated": lambda: models.Calibrated(Boosting(rounds=3)),
    "Corrected": lambda: models.Corrected(Boosting(rounds=3)),
    "DFCL": lambda: models.DFCL(MLP(members=1, schedule=SHORT), schedule=SHORT),
    "DecisionResidual": lambda: models.DecisionResidual(Boosting(rounds=3)),
}
LEFT_OUT = {"Model", "Outcome", "Regressors", "Response", "Stack", "CausalForest"}  # no numbers, or another package's


def cases() -> Iterator[tuple[str, str, float]]:
    for name in models.__all__:
        kind = getattr(models, name)
        if name in LEFT_OUT or not is_dataclass(kind) or not hasattr(kind, "fit"):
            continue
        model = BASED[name]() if name in BASED else kind()
        for field in fields(model):
            value = getattr(model, field.name, None) if field.init else None
            if isinstance(value, int | float) and not isinstance(value, bool) and field.name != "n_threads":
                yield from ((name, field.name, wrong) for wrong in (-3, nan, inf))


@pytest.mark.parametrize(("name", "field", "wrong"), list(cases()))
def test_a_number_that_makes_no_sense_is_refused(name: str, field: str, wrong: float) -> None:
    model = BASED[name]() if name in BASED else getattr(models, name)()
    two = name in ("DRM", "DRP", "DUM")
    rct, obs = orders(300, m=2 if two else 3), orders(400, m=2 if two else 3, seed=1, design="obs")
    with pytest.raises(DataError, match=rf"\b{field}\b"):
        replace(model, **{field: wrong}).fit(rct, obs)


@pytest.mark.parametrize("seed", [-1, nan, "a", 1.5, None, True, 2**70])
def test_seeds_are_whole_numbers(seed: Any) -> None:
    with pytest.raises(DataError, match="seed == .*must be a whole number"):
        Boosting(rounds=2, seed=seed).fit(orders(200))
    assert Boosting(rounds=2, seed=np.int64(3)).fit(orders(200)).treatments_
