"""What all asymptotic sequences share: the interval from its formula, state as JSON, coverage of streams, errors."""

import json

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from largesse.errors import DataError
from largesse.evaluate import DifferenceSequence, EqualSpendSequence, MeanSequence


def test_many_even_scores_have_the_interval_of_the_paper():
    """mean ± σ √(2 (tρ²+1) / (t²ρ²) ln(√(tρ²+1)/α)), with ρ² best at t*, written as in the paper."""
    x = np.random.default_rng(0).normal(3, 2, 100_000)
    look = MeanSequence(expected=20_000).update(x).look()
    t, alpha, rho2 = len(x), 0.05, 8.2117 / 20_000
    half = x.std(ddof=1) * np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / alpha))
    assert (look.lower, look.upper) == pytest.approx((x.mean() - half, x.mean() + half), abs=1e-3 * half)
    assert (look.t, look.estimate) == (t, pytest.approx(x.mean(), rel=1e-12))
    assert look.events == pytest.approx(t / 3, rel=0.05)


def test_few_skewed_scores_have_the_corrected_interval():
    x = np.random.default_rng(1).exponential(size=60)
    look = MeanSequence(expected=60).update(x).look()
    psi, n, tau = x - x.mean(), 60, 8.2117
    z = np.sqrt(2 * (tau + 1) / tau * np.log(np.sqrt(tau + 1) / 0.05))
    freedom = 2 * (psi**2).sum() ** 2 / ((psi**4).sum() - (psi**2).sum() ** 2 / n)
    assert norm.sf(z) > 1e-4  # further out, the quantile of t grows as the normal one
    quantile, g, se = (
        student.isf(norm.sf(z), freedom),
        (psi**3).sum() / (psi**2).sum() ** 1.5,
        x.std(ddof=1) / np.sqrt(n),
    )
    for end, q in ((look.lower, quantile), (look.upper, -quantile)):
        u = (x.mean() - end) / se
        assert u + g * u**2 / 3 + g**2 * u**3 / 27 + g / 6 == pytest.approx(q, rel=1e-4)


def test_far_from_the_expected_size_the_interval_is_wide_and_finite():
    x = np.random.default_rng(7).exponential(size=300)
    look, se = MeanSequence(expected=1e8).update(x).look(), x.std() / np.sqrt(300)
    assert 40 < (look.estimate - look.lower) / se < (look.upper - look.estimate) / se < 400


def test_one_side_is_nearer_and_the_other_open():
    x = np.random.default_rng(2).normal(size=5000)
    both, lower, upper = (MeanSequence(5000, side=side).update(x).look() for side in ("both", "lower", "upper"))
    assert both.lower < lower.lower < lower.estimate < upper.upper < both.upper
    assert (lower.upper, upper.lower) == (np.inf, -np.inf)


def test_with_an_expected_variance_the_clock_is_the_variance_so_far():
    x = np.random.default_rng(3).normal(size=4000)
    plain = MeanSequence(4000).update(x).look()
    same = MeanSequence(4000, variance=float(x.var(ddof=1))).update(x).look()
    assert (same.lower, same.upper) == pytest.approx((plain.lower, plain.upper), rel=1e-12)
    later = MeanSequence(16_000).update(x).look()
    assert MeanSequence(4000, variance=4 * float(x.var(ddof=1))).update(x).look().lower == pytest.approx(later.lower)


@pytest.mark.parametrize("kind", [MeanSequence, DifferenceSequence, EqualSpendSequence])
def test_batches_and_json_give_the_same_bits_as_one_pass(kind):
    rng = np.random.default_rng(5)
    count = {MeanSequence: 1, DifferenceSequence: 2, EqualSpendSequence: 4}[kind]
    columns = rng.lognormal(0, 1, (count, 600))
    more = {"weight": rng.random(600), "importance": rng.choice([1.0, 20.0], 600), "outcome": columns[0]}
    whole = kind(600, level=0.9, side="lower").update(*columns, **more)
    parts = kind(600, level=0.9, side="lower")
    for start, stop in ((0, 1), (1, 1), (1, 250), (250, 600)):
        parts.update(*columns[:, start:stop], **{name: got[start:stop] for name, got in more.items()})
        parts = kind.from_dict(json.loads(json.dumps(parts.to_dict())))
    assert parts.to_dict() == whole.to_dict()


def test_damaged_states_are_refused():
    state = MeanSequence(100).update([1.0, 2.0]).to_dict()
    with pytest.raises(DataError, match="must be the state of a DifferenceSequence"):
        DifferenceSequence.from_dict(state)
    with pytest.raises(DataError, match=r"len\(sums\) == 3: must have 15 numbers"):
        MeanSequence.from_dict(state | {"sums": [1, 2, 3]})
    with pytest.raises(DataError, match="format == 2: must be 1"):
        MeanSequence.from_dict(state | {"format": 2})
    with pytest.raises(DataError, match="must be the state"):
        MeanSequence.from_dict({name: state[name] for name in ("kind", "sums")})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scores": [1.0, np.nan]}, r"scores\[1\] == nan: must be a finite number"),
        ({"scores": [1.0], "weight": [-1.0]}, r"weight\[0\] == -1.0: must be >= 0"),
        ({"scores": [1.0, 2.0], "per": [1.0]}, r"len\(per\) == 1: must equal len\(scores\)"),
        ({"scores": [1.0], "importance": [2.0]}, "outcome == None: is needed beside importance"),
        ({"scores": [1.0], "importance": [-2.0], "outcome": [1.0]}, r"importance\[0\] == -2.0: must be >= 0"),
        ({"scores": [1.0], "cluster": [[1]]}, "cluster == .*: must be an array with one axis"),
    ],
)
def test_wrong_batches_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        MeanSequence(10).update(**given)


@pytest.mark.parametrize("wrong", [{"expected": 0}, {"level": 0.2}, {"side": "left"}, {"variance": -1.0}])
def test_wrong_settings_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=f"^{name} == "):
        MeanSequence(**{"expected": 100} | wrong)


def test_an_empty_stream_and_an_empty_day_have_no_interval():
    empty = MeanSequence(100)
    assert empty.look().reason == "there is nothing to divide by yet"
    assert np.isnan(empty.update([]).look().estimate)
    assert MeanSequence(100).update(np.full(50, 2.0)).look().reason == "the scores do not vary"


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng, n: (rng.random(n) < 0.01) * 1.0, 0.01),
        (lambda rng, n: rng.lognormal(0, 2, n), np.exp(2.0)),
        (lambda rng, n: (rng.random(n) < 0.02) * rng.lognormal(0, 1, n), 0.02 * np.exp(0.5)),
    ],
    ids=["binary", "log-normal", "zero-inflated"],
)
def test_streams_with_daily_looks_are_covered(draw, mean):
    """100 streams of 6,000 rows in 60 days: at a true rate of 5 %, 99 of 100 runs have 10 misses or fewer."""
    missed = 0
    for seed in range(100):
        sequence, x = MeanSequence(6000), draw(np.random.default_rng(seed), 6000)
        missed += any(not sequence.update(day).look().contains(mean) for day in np.split(x, 60))
    assert missed <= 10
