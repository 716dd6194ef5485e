"""`confidence_sequence`: the same looks as the streaming classes, and errors."""

import numpy as np
import pytest

from largesse.errors import DataError
from largesse.evaluate import BettingSequence, MeanSequence, confidence_sequence

X = np.random.default_rng(0).random(1000)


def test_looks_are_those_of_the_streaming_classes():
    for got, sequence in (
        (confidence_sequence(X, looks=4), MeanSequence(1000)),
        (confidence_sequence(X, looks=4, method="betting", bounds=(0, 1)), BettingSequence(1000, (0, 1))),
    ):
        expected = [sequence.update(part).look() for part in np.split(X, 4)]
        assert list(got.looks) == expected


def test_looks_may_be_named_and_the_size_given():
    got = confidence_sequence(X, looks=[100, 700], expected=500, per=np.ones(1000), weight=np.full(1000, 2.0))
    assert [look.t for look in got.looks] == [100, 700]
    assert got.looks[1].lower == pytest.approx(MeanSequence(500).update(X[:700]).look().lower, rel=1e-9)


def test_clusters_are_counted_and_must_be_whole():
    code = np.repeat(np.arange(100), 10)
    got = confidence_sequence(X, looks=10, cluster=code)
    assert got.looks[-1].t == 100
    assert got.looks[-1].lower == pytest.approx(MeanSequence(100).update(X, cluster=code).look().lower, rel=1e-9)
    with pytest.raises(DataError, match=r"cluster\[10\] == 1: must have all its rows between two looks"):
        confidence_sequence(X, looks=[15, 1000], cluster=code)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "betting"}, "bounds == None: is needed for betting"),
        ({"method": "betting", "bounds": (0, 1), "weight": X}, "weight == .*: is not for betting"),
        ({"method": "bootstrap"}, "method == 'bootstrap'"),
        ({"looks": 0}, "looks == 0"),
        ({"looks": [5, 5]}, r"looks == \[5, 5\]: must rise"),
        ({"looks": [5, 5000]}, r"looks\[1\] == 5000"),
        ({"per": X[:5]}, r"len\(per\) == 5"),
    ],
)
def test_what_is_wrong_is_refused(given, words):
    with pytest.raises(DataError, match=words):
        confidence_sequence(X, **given)
