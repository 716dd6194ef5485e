"""The studies of decision losses can make every model that they name."""

from __future__ import annotations

import pytest

from benchmarks import ablation, criteo, decision
from benchmarks.cells import decision_loss
from largesse.models import DFCL, DIFD, DPL, PIFD, PPL

SETTINGS = [of for of, _ in ablation.OPTIONS.values()] + [of for _, _, of in decision.jobs().values()]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_that_a_kind_has_is_set(settings):
    loss = decision_loss(**settings)
    kind = {"ppl": PPL, "pifd": PIFD, "dpl": DPL, "difd": DIFD}[settings.get("kind", "ppl")]
    assert type(loss) is kind
    for name in {"variance", "net_of", "reach", "temperature"} & set(settings):
        if hasattr(kind(), name):
            assert getattr(loss, name) == settings[name]
    assert loss == kind() or set(settings) - {"kind"}


def test_the_rankings_have_a_loss_of_every_kind():
    made = criteo.methods(0)
    for kind in (PPL, PIFD, DPL, DIFD):
        ours = made[f"DFCL-{kind.__name__}, our objective, same network"]
        assert isinstance(ours, DFCL)
        assert ours.decision == kind()
