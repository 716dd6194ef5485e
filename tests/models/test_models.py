"""Every model through one table of specs; then what is particular to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from largesse.errors import ConfigError, DataError, MissingDependency
from largesse.evaluate.truth import true_value
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.models import (
    DFCL,
    DPM,
    DRM,
    DRP,
    DUM,
    HRC,
    MLP,
    PIFD,
    PPL,
    Boosting,
    Calibrated,
    CausalForest,
    Corrected,
    DecisionResidual,
    FullBatch,
    Model,
    Outcome,
    Regressors,
    Schedule,
    Student,
)
from largesse.models.crossfit import cross_fitted, out_of_fold
from largesse.models.decision import residual
from largesse.models.families import FAMILIES
from largesse.models.outcome import Response
from largesse.models.registry import NAMES, Settings, make
from largesse.models.selection import choose
from largesse.models.two_stage.calibrated import fit_line
from tests.common.contract import (
    Spec,
    counts_row_weights,
    finds_no_effect_where_there_is_none,
    gives_a_menu_that_can_be_solved,
    keeps_the_contract,
)
from tests.common.worlds import WORLDS, baskets, orders, visits

FAST = Schedule(epochs=1, least=50, batch=256)
LEARNING = Schedule(epochs=2, least=150, batch=256)
FEW = FullBatch(steps=20)
BINARY = ("drp", "drm", "dum")  # candidates for one treatment and control


def specs(schedule: Schedule) -> tuple[Spec, ...]:
    """Returns the models; networks are trained by the schedule."""
    tiny = MLP(members=1, hidden=(8,), schedule=schedule)
    two = MLP(members=1, hidden=(16, 8), schedule=schedule)
    return (
        Spec("MLP", lambda: MLP(members=2, hidden=(16, 8), schedule=schedule)),
        Spec("MLP published", lambda: MLP.published(hidden=(16, 8), schedule=schedule), plain=True),
        Spec("Boosting S", lambda: Boosting(rounds=10)),
        Spec("Boosting T", lambda: Boosting(rounds=10, strategy="T")),
        Spec("Boosting, as long as it pays", Boosting),
        Spec("Boosting monotone", lambda: Boosting(rounds=10, monotone=True), ("orders", "baskets", "counts")),
        Spec("Calibrated", lambda: Calibrated(Boosting(rounds=10))),
        Spec("Calibrated MLP", lambda: Calibrated(MLP(members=1, hidden=(8,), schedule=schedule))),
        Spec("Corrected", lambda: Corrected(Boosting(rounds=10), rounds=10)),
        Spec("Ridge T", lambda: Regressors(Ridge()), ("orders", "baskets", "counts", "profits", "visits"), True),
        Spec(
            "Ridge S",
            lambda: Regressors(Ridge(), strategy="S"),
            ("orders", "baskets", "counts", "profits", "visits"),
            True,
        ),
        Spec("DFCL", lambda: DFCL(tiny, schedule=schedule)),
        Spec("DFCL, PIFD", lambda: DFCL(tiny, decision=PIFD(), shrinkage_weight=1.0, schedule=schedule), factor=True),
        Spec("DecisionResidual trees", lambda: DecisionResidual(Boosting(rounds=10), by="trees", shrinkage_weight=0.5)),
        Spec(
            "DecisionResidual network", lambda: DecisionResidual(Boosting(rounds=10), by="network", schedule=schedule)
        ),
        Spec(
            "DecisionResidual arms", lambda: DecisionResidual(tiny, by="arms", shrinkage_weight=1.0, schedule=schedule)
        ),
        Spec("HRC", lambda: HRC(two, sizes=(6,))),
        Spec("Student folded", lambda: Student(HRC(two, sizes=(8,)))),
        Spec("Student mlp", lambda: Student(HRC(two, sizes=(8,)), form="mlp", schedule=schedule), ("orders",)),
        Spec("Student trees", lambda: Student(HRC(two, sizes=(8,)), form="lightgbm"), ("orders",)),
        Spec("DUM", lambda: DUM(members=2, hidden=(8,), training=FEW), ("visits",), factor=True, treatments=2),
        Spec("DRP", lambda: DRP(members=2, hidden=(8,), training=FEW), ("visits",), factor=True, treatments=2),
        Spec("DRM", lambda: DRM(members=2, hidden=(8,), training=FEW), ("visits",), factor=True, treatments=2),
        Spec("DPM", lambda: DPM(members=2, hidden=(8,), training=FEW), factor=True),
    )


TINY = MLP(members=1, hidden=(8,), schedule=FAST)
SPECS = specs(FAST)
OUTCOMES = tuple(s for s in specs(LEARNING) if not s.factor)
CASES = [pytest.param(spec, world, id=f"{spec.name}-{world}") for spec in SPECS for world in spec.worlds]
EACH = [pytest.param(spec, id=spec.name) for spec in SPECS]


@pytest.mark.parametrize(("spec", "world"), CASES)
def test_a_model_gives_a_menu_that_can_be_solved_in_every_world(spec: Spec, world: str):
    gives_a_menu_that_can_be_solved(spec, world)


@pytest.mark.parametrize("spec", EACH)
def test_the_contract(spec: Spec):
    keeps_the_contract(spec)


@pytest.mark.parametrize("spec", [pytest.param(s, id=s.name) for s in SPECS if s.row_order_free])
def test_the_order_of_the_rows_does_not_matter(spec: Spec):
    logs = orders(800)
    other = logs.take(np.random.default_rng(0).permutation(logs.n))
    np.testing.assert_allclose(
        spec.make().fit(logs).predict(logs.x).value, spec.make().fit(other).predict(logs.x).value, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("spec", [s for s in OUTCOMES if not s.plain], ids=lambda s: s.name)
def test_row_weights_count(spec: Spec):
    counts_row_weights(spec)


def test_a_weight_of_two_is_the_row_twice():
    logs = orders(600)
    weight = 1.0 + logs.value
    twice = logs.take(np.repeat(np.arange(600), weight.astype(int)))
    weighted = replace(logs, weight=weight, propensity="observed")
    a, b = (Regressors(Ridge()).fit(rows).predict(logs.x).value for rows in (weighted, twice))
    np.testing.assert_allclose(a, b, atol=1e-4)
    line = [fit_line(FAMILIES["bernoulli"], r.x[:, 0].astype(float), r.value, r.weights) for r in (weighted, twice)]
    # The prior counts as ten rows, whatever a row's weight.
    np.testing.assert_allclose(line[0].about(0.0)[0], line[1].about(0.0)[0], atol=0.05)


@pytest.mark.parametrize("spec", OUTCOMES, ids=lambda s: s.name)
def test_no_effect_gives_about_none(spec: Spec):
    finds_no_effect_where_there_is_none(spec)


def test_a_model_finds_who_responds():
    logs, fresh = orders(12_000, seed=5), orders(4000, seed=6)
    p = 1 / (1 + np.exp(1.2 - 0.5 * fresh.x[:, 1:2] - np.arange(3) * (fresh.x[:, :1] > 0)))
    truth = Menu(value=p, cost=p * np.arange(3))
    budget = [0.25 * truth.cost[:, 2].mean()]
    arms = Menu(value=np.tile(p.mean(0), (fresh.n, 1)), cost=np.tile((p * np.arange(3)).mean(0), (fresh.n, 1)))
    plain = true_value(arms, truth, budget)
    for model in (MLP(members=1), Boosting(), Regressors(LogisticRegression())):
        assert true_value(model.fit(logs).predict(fresh.x), truth, budget) > plain + 0.02


def test_the_log_of_a_past_policy_helps_and_is_corrected():
    rct, obs = orders(2000, seed=7), orders(8000, seed=8, design="obs")
    for data in ("both", "rct", "obs"):
        assert Boosting(data=data, rounds=5).fit(rct, obs).predict(rct.x).n == rct.n
    with pytest.raises(DataError, match="no observational log"):
        Boosting(data="obs").fit(rct)
    with pytest.raises(DataError, match="must be one of"):
        Boosting(data="all").fit(rct)


def test_calibration_does_not_believe_scores_of_rows_the_base_has_seen():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(4000, 5)), rng.integers(0, 2, 4000)
    order = (rng.random(4000) < 0.3).astype(float)
    logs = Logs(x=x, treatment=t, value=order, cost=t * order)
    model = Calibrated(Boosting(rounds=60)).fit(logs)
    assert (model.lines_["value"][:, 1] < 0.3).all(), "pure noise: nothing of the score is left"
    fresh = rng.normal(size=(4000, 5))
    raw, fixed = model.base_.predict(fresh).value, model.predict(fresh).value
    assert fixed.std() < 0.5 * raw.std()


def test_a_correction_reaches_control_too_where_revenue_was_wrong():
    rct = baskets(6000, seed=3)
    past = baskets(12_000, seed=4)
    obs = replace(past, value=2 * past.value, cost=2 * past.cost, design="obs", propensity=None)
    model = Corrected(Boosting(rounds=30), rounds=100).fit(rct, obs)
    before, after = model.base_.predict(rct.x).value.mean(0), model.predict(rct.x).value.mean(0)
    for j in range(3):
        mean = rct.value[rct.treatment == j].mean()
        assert before[j] > 1.6 * mean
        assert abs(after[j] - mean) < 0.25 * mean


def test_what_is_declared_monotone_is():
    logs = orders(1000)
    outcome = Outcome.infer(logs, ordered=True)
    assert outcome.monotone
    for name in (name for name in NAMES if name not in BINARY):
        model = make(name, Settings(outcome=outcome, members=1, epochs=1))
        menu = model.fit(logs, orders(800, seed=2, design="obs")).predict(logs.x)
        if name not in ("mlp-published", "bi-dfcl-published", *NAMES[NAMES.index("ips") :]):
            assert (np.diff(menu.value, axis=1) >= -1e-12).all(), name
    with pytest.raises(DataError, match="needs strategy='S'"):
        Boosting(strategy="T", monotone=True).fit(logs)


@pytest.mark.parametrize(
    "make_model", [lambda: Boosting(rounds=30), lambda: MLP(members=1), lambda: Calibrated(Boosting(rounds=30))]
)
def test_redemption_of_counts_is_learned_apart(make_model: Callable[[], Model]):
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(6000, 3)), rng.integers(0, 2, 6000)
    many = np.where(rng.random(6000) < 0.25 + 0.1 * t, 1 + rng.poisson(3, 6000), 0).astype(float)
    logs = Logs(x=x, treatment=t, value=many, cost=2.0 * t * (many > 0))
    model = make_model().fit(logs)
    assert (model.outcome_.family, model.outcome_.cost_rule) == ("poisson", "per_redemption")
    assert abs(model.predict(x).cost[:, 1].mean() - logs.cost[t == 1].mean()) < 0.08


def test_the_outcome_of_a_base_is_the_wrappers():
    outcome = Outcome(family="gaussian", cost_rule="learned")
    assert Calibrated(Boosting(outcome=outcome, rounds=5)).fit(orders(600)).outcome_ == outcome
    with pytest.raises(DataError, match="must be a model with the parameter data"):
        Corrected(Calibrated(Boosting())).fit(orders(600))


def test_rows_of_a_past_policy_are_no_trial():
    with pytest.raises(DataError, match="these rows are no trial"):
        Boosting().fit(orders(600, design="obs"))


def test_nothing_ever_bought_is_learned_as_nothing():
    base = orders(600)
    logs = Logs(x=base.x, treatment=base.treatment, value=np.zeros(600), cost=1.0 * base.treatment)
    outcome = Outcome(family="zero_inflated_lognormal", cost_rule="per_contact", amounts=(0.0, 1.0, 2.0))
    for model in (
        MLP(outcome=outcome, members=1, schedule=FAST),
        Corrected(Boosting(outcome=outcome, rounds=5), rounds=5),
    ):
        value = model.fit(logs).predict(logs.x).value
        assert np.isfinite(value).all()
        assert value.max() < 0.2


def test_calibration_repairs_the_level_of_each_arm():
    rct = orders(6000, seed=3)
    obs = orders(6000, seed=4, design="obs")
    tilted = replace(
        obs, value=np.where(obs.treatment == 2, 1.0, obs.value), cost=np.where(obs.treatment == 2, 2.0, obs.cost)
    )
    raw = Boosting(data="obs", rounds=20).fit(rct, tilted)
    fixed = Calibrated(Boosting(data="obs", rounds=20)).fit(rct, tilted)
    mean = rct.value[rct.treatment == 2].mean()
    assert raw.predict(rct.x).value[:, 2].mean() > mean + 0.2
    assert abs(fixed.predict(rct.x).value[:, 2].mean() - mean) < 0.05


@pytest.mark.parametrize("family", ["bernoulli", "poisson", "gaussian"])
def test_a_line_is_recovered(family: str):
    rng = np.random.default_rng(0)
    link = rng.normal(size=200_000) * 0.7 - (1.0 if family == "bernoulli" else 0.0)
    eta = 0.3 + 0.8 * link
    y = {
        "bernoulli": lambda: (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
        "gaussian": lambda: eta + rng.normal(size=len(eta)),
    }[family]()
    line = fit_line(FAMILIES[family], link, y, np.ones(len(eta)))
    np.testing.assert_allclose(line.about(0.0)[0], [0.3, 0.8], atol=0.03)


class TestOutcome:
    def test_families_are_inferred(self):
        found = {name: Outcome.infer(make()).family for name, make in WORLDS.items()}
        assert found == {
            "orders": "bernoulli", "baskets": "zero_inflated_lognormal", "counts": "poisson", "profits": "gaussian",
            "visits": "bernoulli",
        }  # fmt: skip

    def test_cost_rules_are_inferred(self):
        found = {name: Outcome.infer(make()) for name, make in WORLDS.items()}
        assert {k: o.cost_rule for k, o in found.items()} == {
            "orders": "per_redemption", "baskets": "share_of_value", "counts": "per_contact", "profits": "learned",
            "visits": "learned",
        }  # fmt: skip
        assert found["orders"].amounts == (0.0, 1.0, 2.0)
        assert found["orders"].ordered
        assert found["baskets"].amounts == pytest.approx((0.0, 0.1, 0.2))
        assert found["visits"].cost_binary
        assert found["visits"].control_cost

    def test_what_is_declared_is_checked(self):
        with pytest.raises(DataError, match=r"does not fit the family 'bernoulli' \(.* such rows of 3000\)"):
            Outcome.infer(baskets(), value="bernoulli")
        with pytest.raises(
            DataError,
            match=r"^cost == 'per_redemption': for treatment '1' the rule misses(?s:.*)or set `cost='learned'`",
        ):
            Outcome.infer(orders(), cost="per_redemption", amounts={"1": 3.0, "2": 2.0})
        with pytest.raises(DataError, match="rows with a value"):
            Outcome.infer(
                orders(), cost="per_contact", amounts={"1": orders().cost[orders().treatment == 1].mean(), "2": 1.0}
            )
        with pytest.raises(DataError, match=r"missing: \['2'\]"):
            Outcome.infer(orders(), cost="per_redemption", amounts={"1": 1.0})
        with pytest.raises(DataError, match="must be one of"):
            Outcome.infer(orders(), value="normal")
        with pytest.raises(DataError, match="amounts need a rule"):
            Outcome.infer(orders(), amounts={"1": 1.0, "2": 2.0})

    def test_rules_give_the_cost(self):
        table = np.array([[0.2, 0.5]])
        rule = Outcome(family="bernoulli", cost_rule="per_redemption", amounts=(0.0, 4.0))
        assert rule.menu(Response(table, table), ("0", "1")).cost.tolist() == [[0.0, 2.0]]
        contact = Outcome(family="gaussian", cost_rule="per_contact", amounts=(0.0, 3.0))
        assert contact.menu(Response(table), ("0", "1")).cost.tolist() == [[0.0, 3.0]]
        share = Outcome(family="gaussian", cost_rule="share_of_value", amounts=(0.0, 0.1))
        assert share.menu(Response(table), ("0", "1")).cost[0].tolist() == pytest.approx([0.0, 0.05])
        with pytest.raises(DataError, match="needs P"):
            Outcome(family="gaussian", cost_rule="per_redemption", amounts=(0.0, 1.0)).menu(Response(table), ("0", "1"))

    def test_a_log_without_costs_gets_them_from_the_rule(self):
        logs = orders()
        bare = replace(logs, cost=np.zeros(logs.n), propensity="observed")
        np.testing.assert_allclose(Outcome.infer(logs).with_cost(bare).cost, logs.cost)

    def test_it_is_said_in_words(self):
        assert Outcome.infer(orders()).describe() == (
            "Value is bernoulli; cost follows the rule per redemption (amounts 0, 1, 2)."
        )


def test_an_arm_that_the_past_policy_never_used():
    rct, obs = orders(900), orders(900, seed=2, design="obs")
    never = obs.take(np.flatnonzero(obs.treatment != 1))
    assert Boosting(rounds=5).fit(rct, never).predict(rct.x).n_treatments == 3
    with pytest.raises(DataError, match="no training rows with data='obs'"):
        Boosting(rounds=5, data="obs").fit(rct, never)


def test_a_network_tells_each_step():
    seen: list[tuple[int, int, float]] = []
    MLP(members=1, hidden=(4,), schedule=FAST, on_step=lambda *a: seen.append(a)).fit(orders(600))
    assert [s[0] for s in seen] == list(range(1, seen[0][1] + 1))
    assert all(np.isfinite(s[2]) for s in seen)


def test_structured_costs_rise_with_the_level_and_plain_ones_need_not():
    logs = replace(WORLDS["profits"](), propensity="observed")
    ordered = Outcome(family="gaussian", cost_rule="learned", ordered=True)
    menu = MLP(outcome=ordered, members=1, schedule=FAST).fit(logs).predict(logs.x)
    assert (np.diff(menu.cost, axis=1) > 0).all()
    for binary in (False, True):
        rows = visits()
        outcome = replace(Outcome.infer(rows), ordered=True, cost_binary=binary)
        cost = MLP(outcome=outcome, members=1, schedule=FAST).fit(rows).predict(rows.x).cost
        assert (cost[:, 1] >= cost[:, 0]).all()
        assert (cost[:, 0] > 0).all()


def test_sklearn_bases_are_refused_where_they_cannot_say_enough():
    with pytest.raises(DataError, match="a classifier, but the value is"):
        Regressors(LogisticRegression()).fit(baskets())
    with pytest.raises(DataError, match="a regressor of the value does not predict P"):
        Regressors(Ridge(), outcome=Outcome("zero_inflated_lognormal", "per_redemption", (0.0, 1.0, 2.0))).fit(
            baskets()
        )
    with pytest.raises(DataError, match="a classifier, but costs are amounts"):
        Regressors(Ridge(), cost_estimator=LogisticRegression()).fit(WORLDS["profits"]())


def test_the_forest_names_the_package_it_needs():
    try:
        import econml  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependency, match=r"pip install 'largesse\[forest\]'"):
            CausalForest().fit(orders(300))
    else:
        assert CausalForest(trees=8).fit(orders(600)).predict(orders(50).x).n == 50


@pytest.mark.parametrize("name", NAMES)
def test_every_named_candidate_fits(name: str):
    m = 2 if name in BINARY else 3
    rct, obs = orders(800, m), orders(800, m, seed=2, design="obs")
    settings = Settings(outcome=Outcome.infer(rct | obs), members=1, epochs=1)
    assert make(name, settings).fit(rct, obs).predict(rct.x).n == rct.n


def test_an_unknown_candidate_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'lightgbm'"):
        make("lightgmb", Settings(outcome=Outcome.infer(orders(300))))


class TestChoice:
    def test_noise_does_not_decide(self):
        rng = np.random.default_rng(0)
        value = np.array([[1.00], [1.01]])
        draws = value + rng.normal(size=(400, 2, 1))
        assert choose(("simple", "elaborate"), value, draws).name == "simple"

    def test_evidence_does(self):
        rng = np.random.default_rng(0)
        value = np.array([[1.0], [1.5]])
        draws = value + rng.normal(size=(400, 1, 1)) + 0.01 * rng.normal(size=(400, 2, 1))
        choice = choose(("simple", "elaborate"), value, draws)
        assert choice.name == "elaborate"
        assert "none before it" in choice.reason

    @pytest.mark.parametrize("others", [1, 6])
    def test_the_first_of_many_alike_stays_with_95_percent(self, others: int):
        rng, names, left = np.random.default_rng(1), tuple("abcdefg"[: others + 1]), 0
        for _ in range(500):
            value = rng.normal(size=(others + 1, 1))
            draws = value + rng.normal(size=(300, others + 1, 1))
            left += choose(names, value, draws, standard_errors=None, decides=()).name != "a"
        assert 0.02 < left / 500 < 0.08

    def test_the_first_of_many_gives_way_to_one_that_is_surely_better(self):
        rng = np.random.default_rng(2)
        value = np.array([0.0, 0.1, 4.0, 0.2, 0.1])[:, None]
        draws = value + rng.normal(size=(300, 5, 1))
        assert choose(tuple("abcde"), value, draws, standard_errors=None).name == "c"

    def test_the_first_makes_room_only_for_one_that_surely_beats_it(self):
        """c surely beats a; b is so noisy that c does not surely beat it, but nor does b beat a."""
        rng = np.random.default_rng(3)
        value = np.array([0.0, 0.1, 3.5])[:, None]
        draws = value + rng.normal(size=(1000, 3, 1)) * np.array([0.7, 2.6, 0.7])[:, None]
        chosen = choose(("a", "b", "c"), value, draws, standard_errors=None)
        assert chosen.name == "c"
        assert "of those that beat the first with confidence, none before it comes within" in chosen.reason
        assert choose(("a", "b", "c"), value, draws, standard_errors=2.0).name == "b"

    def test_many_simple_candidates_do_not_raise_the_bar_for_one_that_learns_from_decisions(self):
        rng, adopted = np.random.default_rng(4), 0
        for _ in range(500):
            gain = rng.normal()
            value = np.append(np.zeros(7), gain)[:, None]
            noise = np.concatenate([1e-3 * rng.normal(size=(300, 7, 1)), rng.normal(size=(300, 1, 1))], 1)
            adopted += (
                choose((*"abcdefg", "dfcl"), value, value + noise, standard_errors=None, decides={"dfcl"}).name
                == "dfcl"
            )
        assert 0.025 < adopted / 500 < 0.08

    def test_a_budget_out_of_everyones_reach_does_not_count(self):
        value = np.array([[np.nan, 1.0], [np.nan, 2.0]])
        draws = np.repeat(value[None], 50, axis=0)
        assert choose(("a", "b"), value, draws).score.tolist() == [1.0, 2.0]
        assert choose(("a", "b"), value * np.nan, draws).name == "a"


def test_a_model_that_learns_from_decisions_needs_evidence():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 2, 1))
    names = ("mlp", "dfcl")

    def chosen(gain: float, spread: float = 1.0):
        value = np.array([[0.0], [gain]])
        return choose(names, value, value + spread * noise / 2**0.5, decides={"dfcl"})

    assert chosen(1.5).name == "mlp", "1.5 standard errors are not enough"
    assert "the two-stage model is kept" in chosen(1.5).reason
    assert chosen(1.8).name == "dfcl"
    assert "it is adopted" in chosen(1.8).reason
    assert chosen(-0.5).name == "mlp"
    # The same scores without that rule: one standard error decides.
    value = np.array([[0.0], [1.5]])
    assert choose(("mlp", "other"), value, value + noise / 2**0.5, decides={"dfcl"}).name == "other"
    assert choose(("dfcl",), value[:1], (value + noise)[:, :1], decides={"dfcl"}).name == "dfcl"
    # Under no difference at all, adoption is rare.
    by_luck = rng.normal(0, 2**-0.5, (1000, 2, 1))
    adopted = [choose(names, v, v + noise / 2**0.5, decides={"dfcl"}).name == "dfcl" for v in by_luck]
    assert 0.03 < np.mean(adopted) < 0.08


def test_who_cannot_meet_the_budgets_is_not_considered():
    value = np.array([[1.0, 1.0, 1.0], [np.nan, np.nan, 5.0]])
    choice = choose(("lightgbm", "mlp-published"), value, np.repeat(value[None], 50, 0))
    assert choice.name == "lightgbm"
    assert choice.reason.startswith("mlp-published: cannot meet every budget")
    assert choice.counted.all()


def test_several_that_learn_from_decisions_are_not_adopted_by_luck():
    rng = np.random.default_rng(0)
    names = ("mlp", "dfcl", "pool-then-tune", "lightgbm-steered", "drp")
    adopted = 0
    for _ in range(400):
        value = np.append(0.0, rng.normal(size=4))[:, None]
        draws = value + np.concatenate([np.zeros((300, 1, 1)), rng.normal(size=(300, 4, 1))], 1)
        adopted += choose(names, value, draws, decides=names[1:]).name != "mlp"
    assert 0.02 < adopted / 400 < 0.085


@pytest.mark.parametrize("change", [{"average": 0.0}, {"average": 1.0}])
def test_averaging_of_no_or_all_steps_still_trains(change: dict):
    logs = orders(3000)
    menu = MLP(members=1, hidden=(8,), schedule=replace(FAST, **change)).fit(logs).predict(logs.x)
    assert menu.value.std(0).max() > 0.03
    for name, bad in (("average", 1.5), ("batch", 0), ("epochs", 0), ("rate", float("nan"))):
        with pytest.raises(DataError, match=f"schedule.{name}"):
            Schedule(**{name: bad})


def test_steering_keeps_the_declared_order():
    logs = orders(3000)
    outcome = replace(Outcome.infer(logs), ordered=True, monotone=True)
    for by in ("trees", "arms", "network"):
        model = DecisionResidual(
            Boosting(rounds=10, outcome=outcome), by=by, shrinkage_weight=1.0, schedule=FAST, outcome=outcome
        )
        assert (np.diff(model.fit(logs).predict(logs.x).value, axis=1) >= -1e-12).all()


def test_wrappers_refuse_decision_factors_and_bad_folds():
    logs = orders(600)
    for wrap in (Calibrated(DPM()), DecisionResidual(DPM())):
        with pytest.raises(DataError, match="works on values and costs"):
            wrap.fit(logs)
    for folds in (0, 1, 2.5):
        with pytest.raises(DataError, match="folds"):
            DFCL(TINY, folds=folds).fit(logs)
        with pytest.raises(DataError, match="folds"):
            DecisionResidual(TINY, folds=folds).fit(logs)


def test_steering_by_trees_where_rows_are_few_or_money_is_large():
    few = orders(36)
    menu = DecisionResidual(Regressors(Ridge()), by="trees", shrinkage_weight=1.0).fit(few).predict(few.x)
    assert np.isfinite(menu.value).all()
    logs = orders(3000)
    menus = []
    for scale in (1.0, 2.0**30):
        rows = replace(logs, value=logs.value * scale, cost=logs.cost * scale)
        plain = Outcome(family="gaussian")
        model = DecisionResidual(
            Regressors(Ridge(), outcome=plain), by="trees", shrinkage_weight=1.0, outcome=plain
        ).fit(rows)
        menus.append(model.predict(logs.x).value / scale)
    np.testing.assert_allclose(menus[0], menus[1], atol=2e-3)


def test_a_checkpoint_of_another_task_is_not_taken_over(tmp_path):
    logs = orders(900)
    outcomes = [replace(Outcome.infer(logs), amounts=amounts) for amounts in ((0.0, 1.0, 2.0), (0.0, 3.0, 1.0))]
    how = {"decision": PPL(budgets=(0.2,)), "shrinkage_weight": 1.0, "schedule": FAST}
    kept = [DFCL(TINY, outcome=o, checkpoint=str(tmp_path / "kept"), **how).fit(logs).predict(logs.x) for o in outcomes]
    anew = DFCL(TINY, outcome=outcomes[1], **how).fit(logs).predict(logs.x)
    np.testing.assert_array_equal(kept[1].value, anew.value)
    assert np.abs(kept[0].value - anew.value).max() > 1e-3


def test_free_heads_are_trained_on_the_costs_that_are_deployed():
    logs = WORLDS["profits"](3000)
    model = MLP.published(hidden=(8,), schedule=FAST).fit(logs)
    net = model.nets_[0]
    raw = net(torch.tensor(logs.x))
    assert raw[1] is not None
    assert (raw[1] < 0).any(), "a free head goes below 0"
    value, cost = net.menu(raw)
    menu = model.predict(logs.x)
    np.testing.assert_allclose(cost.detach(), menu.cost, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(value.detach(), menu.value, rtol=1e-6, atol=1e-7)


def test_named_models_take_the_budgets_of_the_run():
    settings = Settings(outcome=Outcome(family="bernoulli"), budgets=(0.3, 0.6))
    for name in ("dfcl", "pool-then-tune", "lightgbm-steered"):
        assert make(name, settings).decision.budgets == (0.3, 0.6), name


def test_epochs_of_the_run_are_those_of_every_member():
    own, given = (make("mlp-rct", Settings(Outcome("bernoulli", "learned"), epochs=epochs)) for epochs in (None, 7))
    assert [own._schedule(k).epochs for k in range(3)] == [5, 10, 15]
    assert [given._schedule(k).epochs for k in range(3)] == [7, 7, 7]


def test_named_networks_keep_their_trainings_where_the_run_says():
    settings = Settings(outcome=Outcome(family="bernoulli"), checkpoint="kept")
    for name in ("mlp-rct", "mlp-published", "dfcl", "pool-then-tune", "drp", "drm", "dum", "dpm"):
        assert make(name, settings).checkpoint == "kept", name
    assert make("mlp", settings).base.checkpoint == "kept"


def test_the_strength_of_a_steering_is_judged_on_other_parts_than_those_of_its_menu(monkeypatch):
    seeds = []
    monkeypatch.setattr(
        residual, "cross_fitted", lambda m, rct, obs, seed: (seeds.append(seed), cross_fitted(m, rct, obs, seed))[1]
    )
    monkeypatch.setattr(
        residual, "out_of_fold", lambda r, f, seed, a: (seeds.append(seed), out_of_fold(r, f, seed, a))[1]
    )
    logs = orders(600)
    DecisionResidual(Boosting(rounds=3), by="trees", seed=4).fit(logs)
    menu, judged = (logs.parts(1.0, 1.0, seed=s) for s in seeds)
    assert 0.4 < (menu == judged).mean() < 0.6


@pytest.mark.parametrize("n", [1_500, 30_000])
def test_trees_are_added_as_long_as_unseen_rows_gain(n: int):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(n, 4)), rng.integers(0, 3, n)
    told = 2 * np.sin(3 * x[:, 0]) * (1 + t) + x[:, 1] * x[:, 2]

    def trees(value):
        model = Boosting(seed=1).fit(Logs(x=x, treatment=t, value=value, cost=1.0 * t))
        return model.trees_["value"].boosters[0].num_trees(), model.predict(x)

    few, _ = trees(rng.normal(size=n))
    many, menu = trees(told + 0.1 * rng.normal(size=n))
    assert few < 20, "there is nothing to learn"
    assert 100 < many <= 1000
    assert np.corrcoef(menu.value[np.arange(n), t], told)[0, 1] > 0.95
    fixed = Boosting(rounds=7, seed=1).fit(Logs(x=x, treatment=t, value=told, cost=1.0 * t))
    assert fixed.trees_["value"].boosters[0].num_trees() == 7
    with pytest.raises(DataError, match=r"rounds\[0\] == 0"):
        Boosting(rounds=0).fit(Logs(x=x, treatment=t, value=told, cost=1.0 * t))


def test_few_rows_are_all_learned_from_in_the_end():
    """Five parts say how many trees; then a tree of two leaves has the mean of all rows on either side."""
    x, t = np.repeat([[0.0], [1.0]], 100, axis=0), np.tile([0, 1], 100)
    value = np.where(x[:, 0] > 0, 3.0, 1.0) + np.random.default_rng(0).normal(size=200) / 10
    plain = {"num_leaves": 2, "lambda_l2": 0.0, "learning_rate": 1.0, "feature_fraction": 1.0, "bagging_freq": 0}
    model = Boosting(params=plain, outcome=Outcome("gaussian", "learned")).fit(
        Logs(x=x, treatment=t, value=value, cost=1.0 * t)
    )
    found = model.predict(x).value[:, 0]
    for side in (0, 1):
        rows = x[:, 0] == side
        np.testing.assert_allclose(found[rows], value[rows].mean(), atol=0.05)


def test_members_of_a_mean_are_trained_for_different_lengths():
    logs, steps = orders(2000), []
    quick = Schedule(epochs=2, batch=500, least=1)
    net = MLP(members=4, hidden=(4,), schedule=quick, on_step=lambda step, of, loss: steps.append(of))
    net.fit(logs)
    _, each, _ = quick.steps(2000)
    assert sorted(set(steps)) == [each * e for e in (2, 4, 6)]
    assert [steps.count(each * e) for e in (2, 4, 6)] == [2 * each * 2, each * 4, each * 6], "members take turns"
    alone = MLP(members=1, hidden=(4,), schedule=quick).fit(logs)
    for mine, first in zip(alone.nets_[0].parameters(), net.nets_[0].parameters(), strict=True):
        assert torch.equal(mine, first)
    for wrong in ((), (0.0,), (1.0, -1.0), (float("nan"),)):
        with pytest.raises(DataError, match="lengths"):
            MLP(lengths=wrong).fit(logs)


@pytest.mark.parametrize("strategy", ["S", "T"])
def test_learned_costs_are_those_of_the_treatment(strategy: str):
    """Control costs nothing and is not learned from: what is asked of the others must not slip by one."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2000, 2)), rng.integers(0, 4, 2000)
    paid = t * (1 + (x[:, 0] > 0)) + 0.1 * rng.normal(size=2000) * (t > 0)
    logs = Logs(x=x, treatment=t, value=rng.normal(size=2000), cost=np.maximum(paid, 0.0))
    plain = {"min_data_in_leaf": 20, "feature_fraction": 1.0}
    model = Boosting(rounds=60, strategy=strategy, params=plain).fit(logs)
    assert model.outcome_.cost_rule == "learned"
    want = np.arange(4) * (1 + (x[:, :1] > 0))
    np.testing.assert_allclose(model.predict(x).cost, want, atol=0.35)
    trees = model.trees_["cost"]
    before = trees.predict(logs.x, 4)
    trees.fit(logs, 5 + x[:, 1], np.ones(2000, bool), True)
    assert np.abs(trees.predict(logs.x, 4)[:, 1:] - before[:, 1:]).mean() > 1, "what is learned anew is asked anew"


@pytest.mark.parametrize(("n", "least"), [(400, 20), (4000, 100), (40_000, 500)])
def test_the_leaves_of_a_correction_grow_with_the_rows(n: int, least: int, monkeypatch: pytest.MonkeyPatch):
    """One row in forty, at least 20 and at most 500."""
    given = []

    class StoppedError(Exception):
        pass

    def spied(params: dict[str, object], *_: object, **__: object) -> None:
        given.append(params["min_data_in_leaf"])
        raise StoppedError

    monkeypatch.setattr("largesse.models.two_stage.corrected.lgb.cv", spied)
    with pytest.raises(StoppedError):
        Corrected(Boosting(rounds=2), rounds=2).fit(orders(n))
    assert given == [least]
