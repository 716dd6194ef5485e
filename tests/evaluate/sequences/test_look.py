"""Looks in words, as a table and as JSON."""

import numpy as np

from largesse.evaluate import Look, Looks, MeanSequence
from largesse.result import json_text


def test_a_look_says_what_it_is():
    both = Look("mean", "asymptotic", 1200, 0.1, 0.07, 0.13, 0.9, "both", 120.0)
    assert str(both) == "mean after 1,200 units: 0.1, 0.07 to 0.13 (90 % at all looks together, asymptotic, 120 events)"
    assert both.contains(0.13)
    assert not both.contains(0.2)
    lower = Look("mean", "betting", 10, 0.1, 0.07, np.inf, 0.95, "lower", 3.0)
    assert "at least 0.07" in str(lower)
    upper = Look("mean", "betting", 10, 0.1, -np.inf, 0.3, 0.95, "upper", 3.0)
    assert "at most 0.3" in str(upper)


def test_a_look_without_an_interval_says_why():
    look = MeanSequence(100).update(np.r_[1.0, np.zeros(50)]).look()
    assert str(look) == "mean after 51 units: no interval: 1.0 effective events of 3, 51 units of 10"
    assert look.contains(1e9)
    assert look.to_dict()["lower"] is None
    assert '"reason"' in json_text(look)


def test_looks_are_a_table_that_ends_with_the_last():
    look = MeanSequence(100).update(np.arange(50) % 2).look()
    table = Looks((look, look))
    assert str(table) == str(look)
    assert [row["t"] for row in table.to_records()] == [50, 50]
