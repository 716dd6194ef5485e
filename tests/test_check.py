"""Arguments of any kind are accepted or refused in words: never an error of another library."""

from __future__ import annotations

import numpy as np
import pytest

from largesse import Boosting, Logs, Menu, Roles, _check, check, frames, frontier, intervals, outcome_curve, solve
from largesse.allocate import Spend, assign, grid, price_plan, solve_under
from largesse.checks import balance, power
from largesse.errors import DataError, SchemaError

MENU = Menu(value=[[0.0, 3.0], [0.0, 1.0]], cost=[[0.0, 1.0], [0.0, 1.0]])
LOGS = Logs(x=[[0.0]] * 4, treatment=[0, 1, 0, 1], value=[0, 1, 0, 0], cost=[0, 1, 0, 0])
ODD = (None, 3, float("nan"), "menu", [], {}, np.zeros((2, 2)), Menu, object())
TAKES = {
    "solve": lambda got: solve(got, 1.0),
    "price_plan": lambda got: price_plan(got, 1.0),
    "solve_under": lambda got: solve_under(got, [Spend(at_most=1.0)]),
    "frontier": frontier,
    "intervals": intervals,
    "assign": lambda got: assign(got, 1.0),
    "grid": lambda got: grid(got, 1.0),
    "curve's menu": lambda got: outcome_curve(LOGS, got),
    "curve's logs": lambda got: outcome_curve(got, MENU),
    "check": check,
    "power": power,
    "balance": balance,
    "fit": lambda got: Boosting(rounds=1).fit(got),
    "logs": lambda got: frames.logs({"arm": [0, 1], "y": [0, 1]}, got),
}


@pytest.mark.parametrize("name", TAKES)
def test_an_argument_of_another_kind_is_named(name):
    for got in ODD:
        with pytest.raises(SchemaError, match=": must be a (Menu|Logs|Roles)"):
            TAKES[name](got)


def test_numbers_and_choices_of_any_kind_are_refused_in_words():
    for got in (10**400, np.zeros(3), [], "x", None, float("inf"), object()):
        with pytest.raises(DataError, match="must be a finite number"):
            _check.number("level", got)
    for got in (np.zeros(3), np.zeros((0, 3)), 1, None, [], "other"):
        with pytest.raises(DataError, match="must be one of 'a', 'b'"):
            _check.choice("form", got, ("a", "b"))


def test_a_long_value_is_shortened():
    with pytest.raises(DataError, match=r"form == 'x+\.\.\.: must be one of") as refused:
        _check.choice("form", "x" * 1_000_000, ("a", "b"))
    assert len(str(refused.value)) < 1200


@pytest.mark.parametrize("value", [1e308, -1e300, 1.1e15])
def test_amounts_whose_sums_would_overflow_are_refused(value):
    with pytest.raises(DataError, match=r"value\[0, 1\] == .*must be between -1e\+15 and 1e\+15 \(1 such cell of 4\)"):
        Menu(value=[[0.0, value], [0.0, 1.0]], cost=[[0.0, 1.0]] * 2)
    with pytest.raises(DataError, match=r"value\[1\] == .*must be between -1e\+15 and 1e\+15"):
        Logs(x=[[0.0]] * 2, treatment=[0, 1], value=[0, value], cost=[0, 0])
    Menu(value=[[0.0, 1e15], [0.0, -1e15]], cost=[[0.0, 1e15]] * 2)


def test_threads_are_at_most_one_per_core(monkeypatch):
    monkeypatch.setattr(_check.os, "cpu_count", lambda: 4)
    assert [_check.threads(n) for n in (1, 4, 5, 100_000)] == [1, 4, 4, 4]
    for got in (0, -1, 1.5, True, "2", None):
        with pytest.raises(DataError, match="n_threads == .*must be a whole number >= 1"):
            _check.threads(got)
    Boosting(rounds=2, n_threads=100_000).fit(LOGS)  # LightGBM would end the process
    assert Roles(treatment="arm", value="y").parts == {"treatment": "arm", "value": "y"}
