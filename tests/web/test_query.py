"""Parameters of an address: checked, with errors that name the field, the value, the rule and the next step."""

from __future__ import annotations

import pytest

from largesse.errors import DataError
from largesse.web.query import Query


def test_numbers_may_have_commas_and_spaces() -> None:
    assert Query([("budget", "12,000.5")]).number("budget", 0) == 12000.5
    assert Query([("budget", "12 000")]).number("budget", 0) == 12000
    assert Query([("budget", "")]).number("budget", 7) == 7
    assert Query().optional("value") is None


@pytest.mark.parametrize("text", ["abc", "1e999", "nan", "-1", "--", "0x10", "1;2"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="budget"):
        Query([("budget", text)]).number("budget", 0)


def test_a_choice_is_one_of_its_options() -> None:
    query = Query([("column", "city")])
    assert query.choice("column", ["city", "age"], "age") == "city"
    with pytest.raises(DataError, match="column"):
        query.choice("column", ["age"], "age")


def test_a_value_that_is_too_long_is_refused() -> None:
    with pytest.raises(DataError, match="20,000"):
        Query([("rules", "x" * 20_001)])


def test_addresses_keep_what_they_do_not_change() -> None:
    query = Query([("run", "a b"), ("keep", "1"), ("keep", "2")])
    assert query.address("/budget") == "/budget?run=a+b&keep=1&keep=2"
    assert query.address("/budget", run=None, keep="3") == "/budget?keep=3"
    assert query.with_more("/budget", "keep", "3") == "/budget?run=a+b&keep=1&keep=2&keep=3"
    assert Query().address("/budget") == "/budget"
    assert query.all("keep") == ("1", "2")
    assert query.text("keep") == "2"
