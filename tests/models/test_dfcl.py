"""Decision-focused learning: the contract, what units may not change, how far it goes, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from largesse.allocate import solve
from largesse.errors import DataError, NotFittedError, SchemaError
from largesse.evaluate.bootstrap import arm_means
from largesse.menu import BUDGET_SHARES, Menu
from largesse.models import DFCL, DPL, MLP, Boosting, Outcome, Schedule
from largesse.models.crossfit import out_of_fold
from largesse.models.decision.joint import trial_rows
from largesse.models.decision.losses import LOSSES
from largesse.models.decision.shrinkage import SHRINKAGE_WEIGHTS, between, target_budgets
from largesse.models.outcome import Response
from tests.common.worlds import WORLDS, counts, orders, profits

FAST = Schedule(epochs=2, least=40, batch=256)
TUNE = Schedule(epochs=2, least=20, batch=512, rate=3e-3, decay=0.0, average=0.5)
KINDS = ("ppl", "pifd", "dpl", "difd")


def base(**how: Any) -> MLP:
    return MLP(**{"members": 1, "hidden": (16, 8), "schedule": FAST, **how})


def dfcl(kind: str = "ppl", *, decision: dict[str, Any] | None = None, **how: Any) -> DFCL:
    given = {"base": base(), "schedule": TUNE, "shrinkage_weight": 1.0, **how}
    return DFCL(given.pop("base"), decision=LOSSES[kind](**(decision or {})), **given)


def same(a: Menu, b: Menu) -> None:
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.cost, b.cost)


def moved(model: DFCL, x: Any) -> float:
    """How far the tuned menu is from the base's, in spreads of the value."""
    a, b = model.base_.predict(x).value, model.tuned_.predict(x).value
    return float(np.abs(b - a).max() / a.std())


class TestContract:
    @pytest.mark.parametrize(
        ("world", "kind"), [*((w, "ppl") for w in WORLDS), ("profits", "pifd"), ("profits", "dpl"), ("orders", "difd")]
    )
    def test_a_menu_that_can_be_solved_in_every_world(self, kind: str, world: str):
        logs = WORLDS[world](1500)
        model = dfcl(kind).fit(logs)
        menu = model.predict(logs.x)
        assert np.isfinite(menu.value).all()
        assert moved(model, logs.x) > 1e-3, "it was tuned"
        if not logs.control_cost:
            assert not menu.cost[:, 0].any(), "control costs nothing"
        low, high = menu.cost.min(1).sum(), menu.cost.max(1).sum()
        for share in (0.01, 0.1, 0.5, 1.0):
            budget = low + share * (high - low)
            plan = solve(menu, budget)
            assert plan.spend <= budget
            # Nearly all of it is spent, unless all that pays is bought.
            assert plan.spend > budget - menu.cost.max() or plan.price == 0

    def test_fitting_again_and_a_clone_give_the_same(self):
        logs, obs = orders(800, seed=1), orders(800, seed=2, design="obs")
        before = [a.copy() for a in (logs.x, logs.value, logs.cost, obs.x, obs.value)]
        model = dfcl(shrinkage_weight="cross-fit")
        params = repr(model.get_params())
        with pytest.raises(NotFittedError, match="Call fit"):
            model.predict(logs.x)
        first = model.fit(logs, obs).predict(logs.x)
        shrinkage_weight = model.shrinkage_weight_
        same(first, model.fit(logs, obs).predict(logs.x))
        copy = clone(model)
        assert not hasattr(copy, "tuned_")
        same(first, copy.fit(logs, obs).predict(logs.x))
        assert copy.shrinkage_weight_ == shrinkage_weight
        assert repr(model.get_params()) == params
        assert not hasattr(model.base, "nets_"), "the base that was given stays unfitted"
        for a, b in zip(before, (logs.x, logs.value, logs.cost, obs.x, obs.value), strict=True):
            np.testing.assert_array_equal(a, b)
        with pytest.raises(SchemaError, match="fitted on 4 features"):
            model.predict(logs.x[:, :3])

    def test_the_log_of_a_past_policy_is_for_the_base_only(self):
        logs, obs = orders(900, seed=1), orders(900, seed=2, design="obs")
        alone, both = (dfcl(base=base(data=data)).fit(logs, obs).predict(logs.x) for data in ("rct", "both"))
        same(alone, dfcl(base=base(data="rct")).fit(logs).predict(logs.x))
        assert np.abs(alone.value - both.value).max() > 1e-3

    def test_every_step_is_told(self):
        seen: list[tuple[int, int, float]] = []
        dfcl(on_step=lambda *a: seen.append(a)).fit(orders(600))
        assert [s[0] for s in seen] == list(range(1, 21))
        assert all(np.isfinite(s[2]) for s in seen)

    def test_the_seed_decides(self):
        logs = orders(900)
        a, b = (dfcl(seed=s).fit(logs).predict(logs.x) for s in (0, 1))
        same(a, dfcl(seed=0).fit(logs).predict(logs.x))
        assert np.abs(a.value - b.value).max() > 0

    def test_each_member_is_tuned(self):
        logs = orders(900)
        model = dfcl(base=base(members=2)).fit(logs)
        for before, after in zip(model.base_.nets_, model.tuned_.nets_, strict=True):
            assert not np.array_equal(before.value.weight.detach().numpy(), after.value.weight.detach().numpy())

    @pytest.mark.parametrize(
        ("how", "says"),
        [
            ({"base": Boosting()}, r"base == .*must be an MLP"), ({"shrinkage_weight": 1.5}, r"shrinkage_weight == 1.5"),
            ({"shrinkage_weight": "some"}, r"shrinkage_weight == 'some'"), ({"alpha": -1.0}, r"alpha == -1.0"),
            ({"alpha": float("nan")}, r"alpha == nan"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused(self, how: dict[str, Any], says: str):
        with pytest.raises(DataError, match=says):
            dfcl(**how).fit(orders(300))

    def test_rows_of_a_past_policy_are_no_trial(self):
        with pytest.raises(DataError, match="these rows are no trial"):
            dfcl().fit(orders(300, design="obs"))


@cache
def fitted(kind: str, **how: Any) -> DFCL:
    return dfcl(kind, decision=how, alpha=0.5).fit(profits(800))


class TestUnits:
    """Powers of two change no bit of a division, so what differs is the method, not rounding."""

    def fits(self, kind: str, money: float, worth: float, **how: Any) -> tuple[Menu, Menu, DFCL]:
        logs = profits(800)
        other = replace(logs, cost=money * logs.cost, value=worth * logs.value, propensity="observed")
        first = fitted(kind, **how)
        menu = dfcl(kind, decision=how, alpha=0.5).fit(other).predict(logs.x)
        return first.predict(logs.x), Menu(value=menu.value / worth, cost=menu.cost / money), first

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("money", "worth"), [(8.0, 1.0), (1.0, 4.0)], ids=["money", "value"])
    def test_they_change_nothing(self, kind: str, money: float, worth: float):
        a, b, model = self.fits(kind, money, worth)
        assert moved(model, profits(800).x) > 0.02
        np.testing.assert_allclose(b.value, a.value, atol=1e-4 * a.value.std())
        np.testing.assert_allclose(b.cost, a.cost, atol=1e-4 * a.cost.std())
        for share in (0.1, 0.5):
            budget = share * a.cost[:, -1].sum()
            assert (solve(a, budget).treatment == solve(b, budget).treatment).mean() > 0.999

    @pytest.mark.parametrize("kind", ["ppl", "difd"])
    def test_given_budgets_and_prices_follow_the_currency(self, kind: str):
        logs = profits(900)
        dear = replace(logs, cost=8 * logs.cost, propensity="observed")
        names = {"ppl": ("budgets", (0.2, 0.5), (1.6, 4.0)), "difd": ("prices", (0.4, 0.8), (0.05, 0.1))}
        name, one, eight = names[kind]
        a = dfcl(kind, decision={name: one}).fit(logs).predict(logs.x)
        b = dfcl(kind, decision={name: eight}).fit(dear).predict(logs.x)
        c = dfcl(kind, decision={name: one}).fit(dear).predict(logs.x)
        np.testing.assert_allclose(b.value, a.value, atol=1e-4 * a.value.std())
        assert np.abs(c.value - a.value).max() > 1e-3 * a.value.std()


class TestStrength:
    def test_it_is_chosen_on_rows_that_neither_has_seen(self):
        model = dfcl(shrinkage_weight="cross-fit").fit(orders(1500))
        assert model.shrinkage_weight_ in SHRINKAGE_WEIGHTS
        assert model.choice_.name == f"{model.shrinkage_weight_:g}"
        assert len(model.choice_.score) == len(SHRINKAGE_WEIGHTS)
        assert model.choice_.reason.endswith(".")

    def test_noise_moves_nothing(self):
        """By luck some weight is more than a standard error better than none in about every fifth trial, not in most."""
        found = []
        small = base(hidden=(8,), schedule=replace(FAST, epochs=1, least=20))
        for seed in range(12):
            logs = orders(400, effect=0.0, seed=seed)
            model = dfcl(shrinkage_weight="cross-fit", seed=seed, base=small, schedule=replace(TUNE, least=10)).fit(
                logs
            )
            found.append(model.shrinkage_weight_)
            if model.shrinkage_weight_ == 0:
                same(model.predict(logs.x), model.base_.predict(logs.x))
        assert np.count_nonzero(found) < 6, found
        assert 0 in found

    def test_a_bad_base_is_left(self):
        """In the base's log the dearest arm never sold, which the trial knows better."""
        logs = orders(4000, seed=5)
        obs = orders(2000, seed=6, design="obs")
        wrong = replace(obs, value=np.where(obs.treatment == 2, 0.0, obs.value), cost=np.zeros(obs.n), propensity=None)
        outcome = Outcome("bernoulli", "per_redemption", (0.0, 1.0, 2.0), ordered=True)
        model = dfcl(
            shrinkage_weight="cross-fit",
            base=base(data="obs"),
            outcome=outcome,
            schedule=replace(TUNE, least=150, rate=1e-2),
        )
        assert model.fit(logs, wrong).shrinkage_weight_ > 0
        best = model.choice_.score.max()
        assert model.choice_.score[0] < best - model.choice_.standard_error[0]

    @pytest.mark.parametrize("shrinkage_weight", [0.0, 0.25])
    def test_a_given_strength_is_a_mean_of_the_responses(self, shrinkage_weight: float):
        logs = orders(700)
        model = dfcl(shrinkage_weight=shrinkage_weight).fit(logs)
        assert (model.shrinkage_weight_, model.choice_) == (shrinkage_weight, None)
        a, b = (m.predict(logs.x).value for m in (model.base_, model.tuned_))
        np.testing.assert_allclose(
            model.predict(logs.x).value, (1 - shrinkage_weight) * a + shrinkage_weight * b, rtol=1e-5
        )
        if shrinkage_weight == 0:
            same(model.predict(logs.x), model.base_.predict(logs.x))

    def test_between_two_responses(self):
        rng = np.random.default_rng(0)
        a, b = (Response(*rng.random((3, 5, 2))) for _ in range(2))
        assert between(a, b, 0) is a
        for name in ("value", "conversion", "cost"):
            np.testing.assert_allclose(getattr(between(a, b, 1), name), getattr(b, name))
            half = (getattr(a, name) + getattr(b, name)) / 2
            np.testing.assert_allclose(getattr(between(a, b, 0.5), name), half)
        assert between(Response(a.value), b, 0.5).cost is None

    def test_turns_see_each_row_once_and_never_learn_from_it(self):
        logs = orders(300)
        marked = replace(logs, x=np.column_stack([np.arange(300.0), logs.x]), features=())
        learned: list[set[int]] = []

        def answer(rows: Any, held: Any, fold: int) -> tuple[Response, Response]:
            learned.append(set(rows.tolist()))
            assert not learned[-1] & set(held.tolist())
            x = marked.x[held]
            return Response(np.repeat(x[:, :1], 3, 1)), Response(np.full((len(x), 3), float(fold)))

        first, second = out_of_fold(marked, 3, 0, answer)
        np.testing.assert_array_equal(first.value[:, 0], np.arange(300))
        assert [np.count_nonzero(second.value[:, 0] == k) for k in range(3)] == [300 - len(s) for s in learned]
        assert first.cost is None

    def test_budgets_are_shares_of_the_way_to_the_dearest_arm(self):
        logs = counts(900)
        assert target_budgets(logs, (1, 2)) == (1.0, 2.0)
        dearest = arm_means(logs)[1].max()
        np.testing.assert_allclose(target_budgets(logs), np.array(BUDGET_SHARES) * dearest)
        model = dfcl().fit(logs)
        np.testing.assert_allclose(model.budgets_, np.array(BUDGET_SHARES) * 3.0)
        assert dfcl(decision={"budgets": (0.7,)}).fit(logs).budgets_ == (0.7,)


class TestPublished:
    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_the_form_of_the_papers(self, kind: str):
        model = DFCL.published(kind, alpha=0.25, schedule=TUNE)
        how = model.decision
        assert (how.kind, getattr(how, "net_of", "nothing"), how.variance) == (kind, "nothing", "plain")
        assert (model.alpha, model.schedule, model.shrinkage_weight) == (0.25, TUNE, 1.0)
        assert (model.base.plain, model.base.arm_weighted, model.base.members, model.base.data) == (
            True,
            True,
            1,
            "rct",
        )

    def test_its_parts_can_be_changed(self):
        how = DPL(prices=(0.1,), temperature=0.2)
        model = DFCL.published(decision=how, base=base(plain=True), shrinkage_weight=0.5)
        assert (model.decision, model.shrinkage_weight, model.base.hidden) == (how, 0.5, (16, 8))

    def test_it_fits(self):
        logs = profits(900)
        model = DFCL.published("ppl", base=base(plain=True, data="rct"), schedule=TUNE).fit(logs)
        assert model.outcome_.cost_rule == "learned"
        assert model.shrinkage_weight_ == 1
        assert moved(model, logs.x) > 1e-3
        assert (model.predict(logs.x).cost >= 0).all()


class TestSaved:
    @pytest.mark.parametrize(("world", "plain"), [("orders", False), ("profits", True), ("visits", False)])
    def test_a_state_gives_the_model_back(self, world: str, plain: bool):
        logs = WORLDS[world](700)
        model = dfcl(base=base(members=2, plain=plain), shrinkage_weight=0.5).fit(logs)
        settings, arrays = model.state()
        settings = json.loads(json.dumps(settings))
        copy = clone(model)
        copy.outcome_, copy.treatments_, copy.features_ = model.outcome_, model.treatments_, model.features_
        copy.restore(settings, {k: np.array(v) for k, v in arrays.items()})
        same(copy.predict(logs.x), model.predict(logs.x))
        same(copy.base_.predict(logs.x), model.base_.predict(logs.x))
        same(copy.tuned_.predict(logs.x), model.tuned_.predict(logs.x))
        assert (copy.shrinkage_weight_, copy.budgets_) == (0.5, model.budgets_)
        assert np.abs(model.predict(logs.x).value - model.base_.predict(logs.x).value).max() > 0


class TestTrialRows:
    def test_sums_of_an_arm_are_its_mean_if_everyone_got_it(self):
        logs = replace(orders(900), weight=np.random.default_rng(0).uniform(0.5, 3, 900), propensity="observed")
        trial = trial_rows(logs)
        value, cost = arm_means(logs)
        for j in range(3):
            arm = trial.treatment == j
            assert float((trial.inverse * trial.value * arm).mean()) == pytest.approx(value[j], rel=1e-5)
            assert float((trial.inverse * trial.cost * arm).mean()) == pytest.approx(cost[j], rel=1e-5, abs=1e-9)
        assert float(trial.share.mean()) == pytest.approx(1.0, rel=1e-5)

    @pytest.mark.parametrize("kind", ["ppl", "difd"])
    def test_the_unit_of_the_row_weights_does_not_matter(self, kind: str):
        logs = orders(900)
        menus = []
        for weight in (None, np.full(900, 4.0)):
            rows = replace(logs, weight=weight, propensity="observed")
            menus.append(dfcl(kind).fit(rows).predict(logs.x))
        np.testing.assert_allclose(menus[0].value, menus[1].value, rtol=1e-5)
