"""What reservations come to: by hand, unbiased for known distributions of delays, and read rightly from the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the extra 'serve' is not installed")
pytest.importorskip("pyarrow")

from largesse.serving import Answer, Ledger, Outcome
from largesse.serving.ledger.log import trial_rows
from largesse.serving.ledger.maturing import Prospect, sampled
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.survival import HIGHEST, LOWEST, Reservations, kept
from largesse.serving.ledger.tables import campaigns
from tests.common.earlier_price import share_by_age
from tests.common.ledgers import Clock, ask, campaign

WINDOW, DAYS = 7.0, 30.0


class Truth(NamedTuple):
    """Simulated decisions: when, what they reserve, when they pay, and what; `inf` and 0 where they never do."""

    time: Any
    reservation: Any
    delay: Any
    paid: Any


def decided(rng: Any, n: int, share: float, delay: Callable[[Any, int], Any], days: float = DAYS) -> Truth:
    """Returns n decisions over some days, of which a share redeems after a delay; what comes after the window does not count."""
    used, after = rng.random(n) < share, delay(rng, n)
    used &= after < WINDOW
    reservation = rng.integers(50, 150, n).astype(float)
    paid = np.where(used, np.round(reservation * rng.uniform(0.5, 1.2, n)), 0.0)
    return Truth(np.sort(rng.random(n)) * days, reservation, np.where(used, after, np.inf), paid)


def known(of: Truth, now: float) -> Reservations:
    """Returns what is known of the decisions until now."""
    made = of.time <= now
    age, end = now - of.time[made], np.minimum(of.delay[made], WINDOW)
    rows = np.flatnonzero(end <= age)
    amount = of.reservation[made]
    return Reservations(
        age, amount, np.where(end <= age, 0.0, amount), rows, end[rows], amount[rows], of.paid[made][rows],
        np.ones(len(rows), np.bool_), 1.0,
    )  # fmt: skip


def expected(given: Reservations) -> float:
    """Returns what the open reservations are expected to come to, over what is reserved."""
    nothing: Any = None
    return Prospect(nothing, given, kept(given), nothing, WINDOW).expected()


def earlier(given: Reservations) -> float:
    """Returns what the earlier rule expects the open reservations to come to."""
    so_far = given.reserved + np.bincount(given.of, given.paid, len(given.age))
    share, end = share_by_age(given.age, given.reservation, so_far, WINDOW)
    return float(given.reserved.sum() - (given.reservation * (share(given.age) - max(LOWEST, end))).sum())


DELAYS = {
    "exponential": (0.4, lambda rng, n: rng.exponential(2.0, n)),
    "log-normal": (0.6, lambda rng, n: rng.lognormal(0.0, 1.2, n)),
    "hardly anybody": (0.05, lambda rng, n: rng.exponential(1.0, n)),
    "everybody at once": (1.0, lambda rng, n: rng.exponential(0.05, n)),
}


@pytest.mark.parametrize("name", DELAYS)
@pytest.mark.parametrize("now", [14.0, 20.0, 30.0])
def test_what_open_decisions_come_to_is_unbiased(name, now):
    """The mean error over 100 campaigns is within 3.5 standard errors of 0, the mean square below half of the earlier rule's."""
    share, delay = DELAYS[name]
    new, old, truth = [], [], []
    for seed in range(100):
        of = decided(np.random.default_rng(seed), 4_000, share, delay)
        given, made = known(of, now), of.time <= now
        still = given.reserved > 0
        truth.append(float(of.paid[made][still].sum()))
        new.append(expected(given) * given.reserved.sum())
        old.append(earlier(given))
    wrong, before = (np.array(of) - truth for of in (new, old))
    assert abs(wrong.mean()) < 3.5 * wrong.std() / 10
    assert np.square(wrong).mean() < 0.5 * np.square(before).mean()
    if (
        now == 14.0 and name != "everybody at once"
    ):  # the earlier rule expects too much of the young, which then are many
        assert before.mean() > 4 * before.std() / 10


@pytest.mark.parametrize("name", ["exponential", "log-normal"])
def test_before_the_window_has_passed_it_is_careful(name):
    """What nobody has reached yet counts as paid; so more is expected than comes, and less than is reserved."""
    share, delay = DELAYS[name]
    for seed in range(20):
        of = decided(np.random.default_rng(seed), 4_000, share, delay)
        given = known(of, 4.0)
        got, made = expected(given), of.time <= 4.0
        assert of.paid[made][given.reserved > 0].sum() < got * given.reserved.sum() < given.reserved.sum()


def test_the_interval_covers_the_ratio():
    share, delay = DELAYS["log-normal"]
    true = 0.85 * share * np.mean(delay(np.random.default_rng(0), 1_000_000) < WINDOW)
    covered = [
        (got := kept(known(decided(np.random.default_rng(seed), 1_000, share, delay), 30.0))).low <= true <= got.high
        for seed in range(300)
    ]
    assert 0.915 <= np.mean(covered) <= 0.985  # 95 % ± 2.7 standard errors


def rows(age: Any, reservation: Any, reserved: Any, events: list[tuple[float, ...]]) -> Reservations:
    of, at, released, paid, active = np.array(events, float).reshape(-1, 5).T
    age, reservation, reserved = (np.array(a, float) for a in (age, reservation, reserved))
    return Reservations(age, reservation, reserved, of.astype(int), at, released, paid, active.astype(bool), 1.0)


def test_by_hand():
    """Of 3,000 decisions of 10 each, a third is 5 old. At 2 all that are so old pay 4 of 10; at 8 a quarter is released."""
    n = 1_000
    age, events = np.repeat([5.0, 10.0, 20.0], n), []
    for i in range(3 * n):
        events.append((i, 2.0, 4, 4, True))
        if age[i] > 8 and i % 4 == 0:
            events.append((i, 8.0, 6, 0, True))
    left = np.full(3 * n, 6.0)
    left[n::4] = 0
    got = kept(rows(age, np.full(3 * n, 10.0), left, events))
    assert got.ages.tolist() == [0.0, 2.0, 8.0]
    assert got.still == pytest.approx([1, 0.6, 0.45], rel=1e-3)
    assert got.kept == pytest.approx([1, 1, 0.85], rel=1e-3)
    assert got.ratio == pytest.approx(0.85, rel=1e-3)
    assert got.paid(np.array([0.0, 5.0, 10.0])) == pytest.approx([0.85, 0.75, 1.0], rel=1e-3)
    assert got.released(np.array([5.0, 5.0]), 3.0) == pytest.approx([0.25, 0.25], rel=1e-3)
    assert got.low <= 0.85 - 0.45 <= got.high


def test_refunds_and_late_payments_are_expected_of_all():
    """Everything is paid at 1; a tenth comes back at 3. What expired at 2 is paid all the same at 4 by 100 of 1,000."""
    n = 1_000
    events = [(i, 1.0, 10, 10, True) for i in range(n)] + [(i, 3.0, 0, -1, False) for i in range(n)]
    got = kept(rows(np.full(n, 9.0), np.full(n, 10.0), np.zeros(n), events))
    assert got.ratio == pytest.approx(0.9, rel=2e-3)
    assert got.paid_after(np.array([0.0, 3.5]), 10.0) == pytest.approx([-0.1, 0.0], rel=2e-3)
    events = [(i, 2.0, 10, 0, True) for i in range(n)] + [(i, 4.0, 0, 10, False) for i in range(100)]
    got = kept(rows(np.full(n, 9.0), np.full(n, 10.0), np.zeros(n), events))
    assert got.ratio == pytest.approx(0.1, abs=2e-3)


def test_more_may_be_paid_than_was_reserved():
    n = 1_000
    got = kept(rows(np.full(n, 9.0), np.full(n, 10.0), np.zeros(n), [(i, 1.0, 10, 15, True) for i in range(n)]))
    assert got.ratio == pytest.approx(1.5, rel=1e-3)
    assert got.high - got.low == pytest.approx(0, abs=5e-3)  # all pay the same


def test_few_decisions_say_little():
    got = kept(rows(np.full(30, 500.0), np.full(30, 10.0), np.zeros(30), [(i, 100.0, 10, 0, True) for i in range(30)]))
    assert got.ratio == pytest.approx(0.5)
    for nobody in (rows([], [], [], []), rows([5.0], [10.0], [10.0], [])):
        got = kept(nobody)
        assert (got.ratio, got.at(np.array([0.0, 1e6])).tolist(), expected(nobody)) == (1.0, [1.0, 1.0], 1.0)


@pytest.mark.parametrize(("paid", "edge"), [(0.5, LOWEST), (90.0, HIGHEST)])
def test_the_ratio_is_cut_to_the_band(paid, edge):
    n = 4_000
    got = kept(rows(np.full(n, 500.0), np.full(n, 10.0), np.zeros(n), [(i, 5.0, 10, paid, True) for i in range(n)]))
    assert not LOWEST <= got.ratio <= HIGHEST
    assert got.at(np.array([1e3])).tolist() == [edge]
    assert got.released(np.zeros(1), 10.0) == pytest.approx([1 - edge])


def test_the_log_is_read_rightly(store):
    """Parts, refunds, voids, expiry, payments beyond the reservation and after the expiry, and an erased unit."""
    clock = Clock(0.0)
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(budget=1e4, matures=100.0, holdout=0, explore=0))
        names = ["open", "part", "final", "beyond", "void", "expired", "late", "refund", "part, expired"]
        answers = ledger.decide([ask(name) for name in names])
        by = {a.unit: a.id for a in answers if isinstance(a, Answer)}
        assert {a.reservation for a in answers if isinstance(a, Answer)} == {2.0}
        clock.now = 10.0
        ledger.outcomes([
            Outcome(by["part"], "1", cost=0.5, final=False), Outcome(by["final"], "2", cost=1.5),
            Outcome(by["beyond"], "3", cost=3.0), Outcome(by["void"], "4", void=True),
            Outcome(by["refund"], "5", cost=2.0), Outcome(by["part, expired"], "6", cost=0.25, final=False),
        ])  # fmt: skip
        clock.now = 20.0
        ledger.outcomes([Outcome(by["refund"], "7", cost=-1.0), Outcome(by["part"], "8", cost=1.0, final=False)])
        ledger.erase("final")
        clock.now = 50.0
        ledger.decide([ask("young")])
        clock.now = 120.0
        with reading(ledger.engine) as connection:
            row = connection.execute(campaigns.select()).one()
            before = sampled(connection, row, clock.now)
        assert 100.0 not in before.at  # nothing has expired before `expire`
        ledger.expire()
        clock.now = 130.0
        ledger.outcomes([Outcome(by["late"], "9", cost=1.0)])
        with reading(ledger.engine) as connection:
            row = connection.execute(campaigns.select()).one()
            got = sampled(connection, row, clock.now)
        events = sorted(zip(got.of, got.at, got.released, got.paid, got.active, strict=True))
        right = [
            (0, 100, 200, 0, True), (1, 10, 50, 50, True), (1, 20, 100, 100, True), (1, 100, 50, 0, True),
            (2, 10, 200, 150, True), (3, 10, 200, 300, True), (4, 10, 200, 0, True), (5, 100, 200, 0, True),
            (6, 100, 200, 0, True), (6, 130, 0, 100, False), (7, 10, 200, 200, True), (7, 20, 0, -100, False),
            (8, 10, 25, 25, True), (8, 100, 175, 0, True),
        ]  # fmt: skip
        assert [tuple(map(float, event)) for event in events] == [tuple(map(float, event)) for event in right]
        assert got.age.tolist() == [130.0] * 9 + [80.0]
        assert got.reserved.tolist() == [0.0] * 9 + [200.0]
        assert got.reserved.sum() == row.reserved
        assert got.paid.sum() == row.spent


def test_the_status_says_what_is_expected_and_the_proof_does_not_count_on_it(store):
    """A fifth of 2,000 coupons is used at once, within a window of 100: of what is open later, nothing is expected."""
    clock = Clock(0.0)
    with Ledger.open(store, clock=clock) as ledger:
        ledger.start(campaign(budget=1e4, until=1e6, matures=100.0, holdout=0, explore=0))
        for i in range(20):
            clock.now = 10.0 * i
            answers = ledger.decide([ask(f"{i} {k}") for k in range(100)])
            ledger.outcomes([Outcome(a.id, a.id, cost=2.0) for a in answers[:20] if isinstance(a, Answer)])
        assert ledger.status("c").expected == ledger.status("c").reserved  # as long as nothing is known
        clock.now = 195.0
        ledger.expire()
        ledger.reprice("me")
        status = ledger.status("c")
        assert status.reserved == 80 * 10 * 2.0
        assert status.expected == pytest.approx(0.0, abs=0.005 * status.reserved)
        assert status.ratio == pytest.approx(0.2, abs=0.01)
        assert status.ratio_low <= 0.2 <= status.ratio_high
        matured = sum(batch.num_rows for batch in trial_rows(ledger, "c"))
        assert matured == 1_000  # the early outcomes of the 1,000 young decisions are no rows


def test_a_new_version_has_a_share_of_its_own():
    """The first version predicted twice what is paid, the second what is paid; half a day later that is known."""
    rng = np.random.default_rng(1000)
    n, half = 8_000, 6_000
    age = np.sort(rng.uniform(0.0, 20.0, n))[::-1].copy()
    amount = rng.integers(50, 150, n).astype(float)
    second = np.arange(n) >= half
    reported = np.flatnonzero(age >= 0.5)
    paid = np.where(second, 1.0, 0.5) * amount
    given = Reservations(
        age, amount, np.where(age >= 0.5, 0.0, amount), reported, np.full(len(reported), 0.5), amount[reported], paid[reported],
        np.ones(len(reported), np.bool_), 10.0, np.where(second, "two", "one"),
    )  # fmt: skip
    assert kept(given).ratio == pytest.approx(0.62, abs=0.02)
    assert kept(given.of_present()).ratio == pytest.approx(1.0, abs=0.02)
    alike = given._replace(version=np.full(n, "one"))
    assert alike.of_present() is alike
    unknown = given._replace(version=np.zeros(0, np.str_))
    assert unknown.of_present() is unknown
    # Nobody of the second version has come so far: what the first one did is what is known.
    young = given._replace(version=np.where(np.arange(n) >= n - 20, "two", "one"))
    assert kept(young.of_present()).ratio == pytest.approx(kept(given).ratio, abs=0.02)


def test_after_another_run_decides_the_money_is_on_pace(tmp_path):
    """The first version predicts twice what is paid; without a share of its own, the second one would spend twice too much."""
    clock, n, days = Clock(0.0), 8_000, 20
    rng = np.random.default_rng(1001)
    value = np.column_stack([np.zeros(n), rng.random(n), 1.6 * rng.random(n)])
    cost = np.column_stack([np.zeros(n), np.full(n, 0.5), 0.8 + 0.4 * rng.random(n)])
    day = 86_400.0
    with Ledger.open(f"sqlite:///{tmp_path}/a.db", clock=clock) as ledger:
        ledger.start(campaign(budget=1_200.0, until=days * day, price=1.2, units=float(n), matures=2 * day))
        spent = []
        for k in range(0, n, 100):
            clock.now = k / n * days * day
            version, scale = ("one", 2.0) if k < n // 2 else ("two", 1.0)
            rows = slice(k, k + 100)
            got = ledger.decide_many("c", list(range(k, k + 100)), value[rows], scale * cost[rows], version=version)
            paid = got.cost / scale
            clock.now += 3_600.0
            ledger.outcomes([Outcome(one, f"o{one}", cost=float(c)) for one, c in zip(got.id, paid, strict=True)])
            ledger.reprice("me")
            spent.append(ledger.status("c").spent)
    by_day = np.diff(np.array(spent)[3::4])  # 400 units a day
    # The second version, from its first whole day to the last but two: its first units had the price of the first one.
    assert np.abs(by_day[10:17] / 60.0 - 1).max() < 0.35, by_day
    assert np.abs(by_day[10:17].mean() / 60.0 - 1) < 0.06
    assert spent[-1] > 0.97 * 1_200.0
