"""The first paragraph about an experiment: which arm, which estimator, and what is left after the cost."""

from __future__ import annotations

import numpy as np
import pytest

from largesse.commands.experiment import experiment
from largesse.commands.findings.experiment import opening
from largesse.errors import DataError
from largesse.experiment import Columns, Metric, Settings

RNG = np.random.default_rng(0)
ARM = RNG.choice(["control", "10 off", "5 off"], 3000)
DATA = {
    "arm": ARM, "before": RNG.normal(20, 5, 3000), "paid": np.select([ARM == "5 off", ARM == "10 off"], [5.0, 10.0], 0.0),
    "value": RNG.normal(20, 5, 3000) + np.select([ARM == "5 off", ARM == "10 off"], [1.0, 12.0], 0.0),
}  # fmt: skip
COLUMNS = Columns(arm="arm", metrics=(Metric("value", covariate="before"),), cost="paid")


def test_without_a_tested_arm_all_arms_stand_in_natural_order() -> None:
    head = experiment(DATA, COLUMNS, Settings()).shown.headline
    assert head.title == "Experiment: value, 5 off, 10 off against control"
    assert 0 <= head.sentence.index("5 off against control") < head.sentence.index("10 off against control")
    assert head.sentence.count("adjusted for 2 comparisons") == 2


def test_the_tested_arm_leads_whatever_the_others_show() -> None:
    for arm, other in (("5 off", "10 off"), ("10 off", "5 off")):
        head = experiment(DATA, COLUMNS, Settings(), tested=arm).shown.headline
        assert head.sentence.startswith(f"value: {arm} against control")
        assert other not in head.sentence
        assert any(f"{other} against control" in sentence for sentence in head.summary)


@pytest.mark.parametrize("tested", ["control", "15 off"])
def test_an_arm_that_cannot_be_tested_is_refused(tested: str) -> None:
    with pytest.raises(DataError, match="must be one of '5 off', '10 off'"):
        experiment(DATA, COLUMNS, Settings(), tested=tested)


def test_cost_and_estimator_have_a_sentence_each() -> None:
    lines = opening(experiment(DATA, COLUMNS, Settings()).measurement, "5 off")
    assert "is shown not to pay" in lines[1]  # 1 for 5
    assert " is read" in lines[2]
    assert "is shown to pay" in opening(experiment(DATA, COLUMNS, Settings()).measurement, "10 off")[1]  # 12 for 10


def test_intervals_of_several_arms_are_called_what_they_are() -> None:
    """The printed interval is at its own level: ± 1.96 standard errors of the difference, whatever p is adjusted for."""
    done = experiment(DATA, COLUMNS, Settings())
    head, effect = done.shown.headline, done.measurement["value"].effect("difference in means", "5 off")
    sides = [DATA["value"][arm == ARM] for arm in ("control", "5 off")]
    error = np.sqrt(sum(side.var(ddof=1) / len(side) for side in sides))
    assert (effect.high - effect.low) / 2 / 1.96 == pytest.approx(error, rel=0.01)
    assert head.sentence.count("the interval is not)") == 2
    assert any("not adjusted for the number of arms (2)" in line for line in opening(done.measurement))
    assert not any("number of arms" in line for line in opening(done.measurement, "5 off"))


def test_it_is_said_why_the_net_effect_is_not_by_the_estimator_that_is_read() -> None:
    n, rng = 30_000, np.random.default_rng(2)
    before, group = rng.normal(size=n), rng.choice(["control", "new"], n)
    given, noise = group == "new", rng.normal(size=n)
    data = {"arm": group, "before": before, "paid": given * rng.random(n), "value": 10 + before + 0.3 * given + noise}
    measurement = experiment(data, COLUMNS, Settings()).measurement
    assert measurement["value"].reading("new").method == "STATE"
    assert (
        "Net effect and return are by CUPED, not STATE: value and cost are set against each other row by row, so both need the "
        "same estimator of a mean."
    ) in opening(measurement)
    alike = experiment(DATA, COLUMNS, Settings()).measurement  # read by CUPED, like its net effect
    assert alike["value"].reading("5 off").method == alike.returns[0].method == "CUPED"
    assert not any(line.startswith("Net effect and return") for line in opening(alike, "5 off"))
