"""Which label is control, and in which order the others stand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from largesse.errors import DataError
from largesse.frames.convert import arms


def labels(*names: str) -> tuple[str, ...]:
    return arms(pa.table({"arm": list(names)}), "arm")[1]


@pytest.mark.parametrize(
    "control",
    ["0", "00", "0%", "0 %", "0.0", "0,00", "€0", "$ 0", "0 EUR", "none", "Control", "No E-Mail", "no_coupon", "without offer",
     "no-mail",
     "holdout", "nobody", "placebo", " baseline "],
)  # fmt: skip
def test_a_label_that_means_nothing_is_control(control: str):
    assert labels("offer", control, "other")[0] == control.strip()


@pytest.mark.parametrize(
    "other",
    [
        "05",
        "0.5",
        "0_5",
        "10",
        "note",
        "north",
        "n0",
        "(0, 0.5]",
        "nothing else matters much",
        "no delivery fee",
        "no minimum order",
    ],
)
def test_others_are_not(other: str):
    with pytest.raises(DataError, match="which label is the control"):
        labels("offer", other)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["20%", "5%", "0%", "100%"], ("0%", "5%", "20%", "100%")),
        (["level 10", "level 2", "control"], ("control", "level 2", "level 10")),
        (["10", "9", "0", "0.5"], ("0", "0.5", "9", "10")),
        (["B", "A"], ("A", "B")),
        (["-3", "1e2", "b", "a", "none"], ("none", "-3", "1e2", "a", "b")),
    ],
)
def test_levels_stand_as_numbers(given: list[str], wanted: tuple[str, ...]):
    assert labels(*given) == labels(*given[::-1]) == wanted


def test_two_that_read_like_control_are_asked_about():
    with pytest.raises(DataError, match="2 of .* reads like one"):
        labels("control", "none", "offer")
    with pytest.raises(DataError, match="which label"):
        labels("A", "B", "C")
