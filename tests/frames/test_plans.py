"""Plans as tables: every column by hand, and names that collide."""

from __future__ import annotations

from math import inf

import numpy as np
import pyarrow as pa
import pytest

from largesse.errors import SchemaError
from largesse.frames.plans import PlanColumns

NAMES = ("none", "small", "large")
VALUE = np.array([[1.0, 1.0, 1.0], [2.0, 1.5, 4.0], [4.0, 1.6, 5.0]])
COST = np.array([[0.5, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
UNITS = pa.table({"who": ["a", "b", "c"], "city": ["n", "s", None]})


def columns(price: float | None, withheld: list[bool] | None = None, **changes: object) -> dict[str, list[object]]:
    form = PlanColumns(**{"treatments": NAMES, "unit": "who", "keep": ("city",), "unit_value": 10.0} | changes)
    back = None if withheld is None else np.array(withheld)
    table = form.table(form.first(UNITS, 0, 3), VALUE, COST, np.array([2, 0, 1], np.int32), price, back)
    assert set(form.names) == set(table.column_names) - {*form.copied, "row"}
    return table.to_pydict()


def test_every_column():
    """At price 1 the net values are (0.5, 1, 2), (1, 0.5, -0.4), (1, 3, 3): the last unit's two best are equal."""
    assert columns(1.0) == {
        "who": ["a", "b", "c"], "city": ["n", "s", None], "treatment": ["large", "none", "small"],
        "value": [4.0, 1.0, 4.0], "incremental_value": [3.0, 0.0, 3.0], "cost": [2.0, 0.0, 1.0],
        "net_value": [10 * 3.0 - 1.5, 0.0, 10 * 3.0 - 1.0], "runner_up": ["small", "small", "large"],
        "margin": [1.0, 0.5, 0.0],
    }  # fmt: skip


@pytest.mark.parametrize("price", [None, inf])
def test_without_one_finite_price_no_treatment_comes_next(price: float | None):
    found = columns(price, unit_value=None)
    assert "net_value" not in found
    assert found["runner_up"] == found["margin"] == [None] * 3


def test_kept_back_units_get_control_and_every_propensity_is_known():
    found = columns(1.0, [True, True, False], holdout=0.2)
    assert found["treatment"] == ["none", "none", "small"]
    assert found["arm"] == ["holdout", "holdout", "shipped"]
    assert found["policy_treatment"] == ["large", "none", "small"]
    assert found["propensity"] == pytest.approx([0.2, 1.0, 0.8])
    assert (found["value"], found["incremental_value"]) == ([1.0, 1.0, 4.0], [0.0, 0.0, 3.0])
    assert (found["cost"], found["net_value"]) == ([0.5, 0.0, 1.0], [0.0, 0.0, 29.0])
    assert (found["runner_up"], found["margin"]) == (["small", "small", "large"], [1.0, 0.5, 0.0])


def test_single_precision_stays():
    form = PlanColumns(treatments=NAMES, unit_value=1.0)
    single = form.table(
        form.first(None, 7, 3), VALUE.astype(np.float32), COST.astype(np.float32), np.zeros(3, np.int32), 1.0
    )
    kinds = {"value", "incremental_value", "cost", "net_value", "margin"}
    assert {name for name in single.column_names if single.schema.field(name).type == pa.float32()} == kinds
    assert single["row"].to_pylist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keep": ("city", "city")}, "'city' is named twice"), ({"keep": ("who",)}, "'who' is a column of the plan itself"),
        ({"keep": ("margin",)}, "'margin' is a column of the plan itself"), ({"keep": ("net_value",)}, "'net_value' is a column"),
        ({"keep": ("arm",), "holdout": 0.1}, "'arm' is a column"), ({"unit": None, "keep": ("row",)}, "'row' is a column"),
        ({"unit": "cost"}, "'cost': is the name of a column of the plan"),
    ],
)  # fmt: skip
def test_names_that_collide_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(SchemaError, match=words):
        PlanColumns(**{"treatments": NAMES, "unit": "who", "unit_value": 1.0} | changes)


def test_names_are_free_where_the_plan_has_no_such_column():
    PlanColumns(treatments=NAMES, keep=("net_value", "arm"))
