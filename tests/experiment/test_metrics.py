"""The estimators as metrics of a tea-tasting experiment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tea_tasting as tt
from sklearn.linear_model import LinearRegression

from largesse.errors import DataError, SchemaError
from largesse.experiment import Columns, CrossFit, Cupac, Metric, Mlrate, State, contrast, means, measure
from largesse.experiment.data.columns import rows_of, sample_of
from tests.common.shops import SPEND, shop

HOW = CrossFit(learner=LinearRegression())
FEATURES = ("age", "vip", "before")


def data(n: int = 1500) -> pa.Table:
    return pa.table({"variant" if name == "group" else name: column for name, column in shop(n).items()})


def pairs(theirs: object, ours: object, ends: bool = True) -> None:
    names = {
        "control": "control", "treatment": "treatment", "effect_size": "effect", "effect_size_ci_lower": "low",
        "effect_size_ci_upper": "high", "rel_effect_size": "lift", "rel_effect_size_ci_lower": "lift_low",
        "rel_effect_size_ci_upper": "lift_high", "pvalue": "p_value",
    }  # fmt: skip
    for a, b in (
        names.items() if ends else [pair for pair in names.items() if "ci" not in pair[0] and pair[0] != "pvalue"]
    ):
        assert getattr(theirs, a) == pytest.approx(getattr(ours, b), rel=1e-9), a


@pytest.mark.parametrize("below", [None, "visits"])
def test_they_stand_beside_tea_tastings_own(below: str | None):
    rows = data()
    metrics = {
        "plain": tt.RatioOfMeans("spend", below), "cupac": Cupac("spend", below, features=FEATURES, cross_fit=HOW),
        "mlrate": Mlrate("spend", below, features=FEATURES, cross_fit=HOW),
        "state": State("spend", below, features=FEATURES, cross_fit=HOW), "srm": tt.SampleRatio(),
    }  # fmt: skip
    result = tt.Experiment(metrics).analyze(rows, control="control")
    columns = Columns(arm="variant", metrics=(Metric("spend", below),), features=FEATURES)
    # tea-tasting hands over one arm after the other, which decides the folds
    ordered = pa.concat_tables([rows.filter(pa.compute.equal(rows["variant"], arm)) for arm in ("control", "new")])
    sample = sample_of(rows_of(ordered, columns), columns, columns.metrics[0], HOW)
    plain = means(sample, 1)[0]
    pairs(result["plain"], plain, ends=False)  # the arms differ in size: ours are corrected for skewness
    assert result["plain"].statistic == pytest.approx(plain.effect / plain.se, rel=1e-9)
    pairs(result["cupac"], means(sample, 1)[1])
    pairs(result["mlrate"], contrast(sample, 1).mlrate)
    pairs(result["state"], contrast(sample, 1).state)
    assert result["state"].verdict in ("agree", "not shown to be the mean effect")
    assert result["mlrate"].verdict == ""
    assert "state" in result.to_string()


def test_any_frame_and_any_pair_of_arms():
    rows = shop(1500, arms=3)
    rows["variant"] = rows.pop("group")
    experiment = tt.Experiment(state=State("spend", prediction="before", nu=None), mean=tt.Mean("spend"))
    results = [
        experiment.analyze(kind(rows), control="control", all_variants=True) for kind in (pa.table, pl.DataFrame)
    ]
    assert set(results[0]) == {("control", "new"), ("control", "newer")}
    for pair in results[0]:
        assert results[1][pair]["state"].effect_size == pytest.approx(results[0][pair]["state"].effect_size, rel=1e-12)
    adjusted = tt.adjust_fwer(results[0], arbitrary_dependence=True)
    assert len(adjusted.to_dicts()) == 4
    two = pd.DataFrame(rows)[lambda d: d["variant"] != "newer"]
    assert experiment.analyze(two)["state"].effect_size == results[0]["control", "new"]["state"].effect_size


def test_clusters_weights_levels_and_the_configuration():
    rows = shop(1000)
    rows["city"] = np.arange(1000) % 50
    rows["variant"] = np.where(rows["city"] < 25, "a", "b")
    rows["w"] = 1.0 + rows["vip"]
    wide = tt.Experiment(m=Mlrate("spend", prediction="before", confidence_level=0.99)).analyze(pa.table(rows))["m"]
    with tt.config_context(confidence_level=0.8):
        slim = tt.Experiment(m=Mlrate("spend", prediction="before")).analyze(pa.table(rows))["m"]
    assert wide.effect_size_ci_upper > slim.effect_size_ci_upper
    plain = tt.Experiment(m=State("spend", prediction="before")).analyze(pa.table(rows))["m"]
    ours = measure(
        pa.table(rows),
        replace(SPEND, arm="variant", control="a", metrics=(Metric("spend"),), features=(), prediction="before", unit=None,
                cluster="city", weight="w"),
    )["spend"].effect("STATE")  # fmt: skip
    other = State("spend", prediction="before", cluster="city", weight="w")
    pairs(tt.Experiment(m=other).analyze(pa.table(rows))["m"], ours)
    assert ours.effect != plain.effect_size
    assert "cluster='city'" in repr(Cupac("spend", cluster="city"))


def test_they_refuse():
    with pytest.raises(SchemaError, match="Features must be known before"):
        State("spend", features=("spend",))
    with pytest.raises(DataError, match="nu"):
        State("spend", nu=0.0)
    with pytest.raises(DataError, match="confidence_level"):
        Cupac("spend", confidence_level=0.1)
    with pytest.raises(DataError, match=r"spend\[0\] == nan"):
        tt.Experiment(m=State("spend")).analyze(pa.table({"spend": [None, 1.0, 2.0, 3.0], "variant": [0, 1, 0, 1]}))
