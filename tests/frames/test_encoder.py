"""The encoder: a column whose cells are all missing says nothing about its kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from largesse.frames.encoder import Encoder


@pytest.mark.parametrize(
    "nothing", [[None, None], [np.nan, np.nan], pa.nulls(2, pa.float64()), pa.nulls(2, pa.string())]
)
def test_a_column_without_a_known_cell_is_missing_whatever_its_type(nothing: object):
    n = 40
    known = {"city": ["north", None] * (n // 2), "age": [20.0, None] * (n // 2), "x": np.arange(n)}
    encoder = Encoder.fit(pa.table(known), ["city", "age", "x"])
    frame = pd.DataFrame({"city": pd.Series([None, "north"]), "age": [np.nan, 20.0], "x": [1, 2]})
    expected = encoder.transform(frame)[[0, 0]]
    expected[:, -1] = [1, 2]
    for name in ("city", "age"):
        table = {"city": [None, None], "age": pa.nulls(2, pa.float64()), "x": [1, 2]} | {name: nothing}
        np.testing.assert_array_equal(encoder.transform(pa.table(table)), expected)
