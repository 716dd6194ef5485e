"""Does it pay: incremental value, spend, net value and ratios against pandas-like sums; break-even; verdicts; coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from largesse import Logs, Menu
from largesse.errors import DataError
from largesse.evaluate import PayVerdict, break_even, compare, returns, verdicts
from largesse.evaluate.break_even import _last
from largesse.evaluate.comparison import BEST_MIX
from largesse.evaluate.returns import Sums, _drawn, _joint_level, _verdict

M = 10.0


def campaign(
    n: int = 6000,
    seed: int = 0,
    effect: float = 0.3,
    control_cost: float = 0.0,
    worst: bool = False,
    scale: float = 1.0,
) -> tuple[Logs, Menu]:
    """Half of the units react to a treatment that costs 1 per unit given; the dearest one does the contrary if `worst`."""
    rng = np.random.default_rng(seed)
    x, t = rng.random((n, 2)), rng.integers(0, 3, n)
    gain = effect * (x[:, 0] > 0.5)
    by_arm = np.column_stack([0 * gain, gain, -gain if worst else 1.2 * gain])
    p = 0.3 + by_arm
    value = (rng.random(n) < p[np.arange(n), t]) * scale
    cost = (t * 1.0 + control_cost) * scale
    predicted = 0.3 + np.column_stack([0 * x[:, 0], x[:, 0] * 0.3, x[:, 0] * (0.1 if worst else 0.4)])
    menu = Menu(value=predicted * scale, cost=np.tile((np.arange(3) + control_cost) * scale, (n, 1)))
    paid = control_cost > 0
    return Logs(x=x, treatment=t, value=value, cost=cost, propensity="uniform", control_cost=paid), menu


class TestRows:
    @pytest.mark.parametrize("control_cost", [0.0, 0.25])
    def test_net_value_of_one_treatment_for_everyone_is_that_of_the_means(self, control_cost: float):
        """A policy that gives everyone the last arm: a difference of two means, with Welch-like errors."""
        logs, _ = campaign(control_cost=control_cost)
        everyone = Menu(value=np.tile([0.0, 0.1, 9.0], (logs.n, 1)), cost=np.tile([0.0, 1.0, 2.0], (logs.n, 1)))
        row = returns(compare(logs, {"p": everyone}, [50.0]), value_per_unit=M).of("p")[0]
        sums = [(3 * logs.value * (logs.treatment == k)).mean() for k in range(3)]
        paid = [(3 * logs.cost * (logs.treatment == k)).mean() for k in range(3)]
        assert row.value == pytest.approx(sums[2] - sums[0], rel=1e-12)
        assert row.spend == pytest.approx(paid[2] - paid[0], rel=1e-12)
        assert row.net == pytest.approx(M * (sums[2] - sums[0]) - (paid[2] - paid[0]), rel=1e-12)
        each = 3 * (M * logs.value - logs.cost) * ((logs.treatment == 2) * 1.0 - (logs.treatment == 0))
        error = each.std(ddof=1) / np.sqrt(logs.n)
        assert (row.net_high - row.net_low) / 2 / 1.96 == pytest.approx(error, rel=0.02)
        assert row.per_spend == pytest.approx(M * row.value / row.spend, rel=1e-12)
        assert row.per_value == pytest.approx(row.spend / row.value, rel=1e-12)

    def test_at_a_budget_the_spend_is_exact_and_the_net_value_a_line_of_the_value(self):
        logs, menu = campaign(control_cost=0.25)
        table = compare(logs, {"p": menu}, [0.5, 0.8])
        rows = returns(table, value_per_unit=M).of("p")
        idle_cost = (3 * logs.cost * (logs.treatment == 0)).mean()
        for row, budget in zip(rows, (0.5, 0.8), strict=True):
            assert row.spend == pytest.approx(budget - idle_cost, rel=1e-12)
            assert row.net == pytest.approx(M * row.value - row.spend, rel=1e-12)
        plain = returns(table).of("p")
        assert [row.value for row in plain] == [row.value for row in rows]
        assert np.isnan(plain[0].net)
        assert plain[0].per_spend * M == pytest.approx(rows[0].per_spend, rel=1e-12)
        assert plain[0].per_value == rows[0].per_value

    def test_units_of_money_do_not_matter(self):
        """In cents, and with values a million times as large, the same verdicts and ratios."""
        logs, menu = campaign()
        for scale in (100.0, 1e6):
            other, its_menu = campaign(scale=scale)
            tables = compare(logs, {"p": menu}, [0.4]), compare(other, {"p": its_menu}, [0.4 * scale])
            one, two = (returns(table, value_per_unit=M).of("p")[0] for table in tables)
            assert two.net == pytest.approx(scale * one.net, rel=1e-6)
            assert two.net_low == pytest.approx(scale * one.net_low, rel=1e-6)
            assert two.per_spend_high == pytest.approx(one.per_spend_high, rel=1e-6)

    def test_the_ratio_has_the_ends_at_which_the_difference_is_not_shown(self):
        """Fieller: net value at m = 1 / ratio end has an end at 0."""
        logs, menu = campaign()
        table = compare(logs, {"p": menu}, [0.4])
        row = returns(table).of("p")[0]
        for end, field in ((row.per_value_low, "net_high"), (row.per_value_high, "net_low")):
            at = returns(table, value_per_unit=end).of("p")[0]
            assert getattr(at, field) == pytest.approx(0.0, abs=1e-6)

    def test_nothing_gained_costs_infinitely_much(self):
        logs, menu = campaign(effect=0.0, seed=3)
        row = returns(compare(logs, {"p": menu}, [0.4])).of("p")[0]
        assert row.per_value_high == np.inf
        assert row.value_low < 0 < row.value_high

    def test_a_budget_out_of_reach_has_no_numbers(self):
        logs, menu = campaign(control_cost=0.25)
        row = returns(compare(logs, {"p": menu}, [0.1]), value_per_unit=M).of("p")[0]
        assert np.isnan(row.net)
        assert np.isnan(row.per_value)

    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_unit_of_value_brings_a_positive_amount(self, value: float):
        logs, menu = campaign(400)
        with pytest.raises(DataError, match="value_per_unit"):
            returns(compare(logs, {"p": menu}, [0.4]), value_per_unit=value)

    def test_plain_values_for_json(self):
        logs, menu = campaign(400)
        made = returns(compare(logs, {"p": menu}, [0.4]), value_per_unit=M)
        assert made.to_dict()["rows"][0]["name"] == "p"
        assert {row.name for row in made.rows} == {"p", BEST_MIX}
        with pytest.raises(DataError, match="name"):
            made.of("nobody")


class TestBreakEven:
    def line(self, logs: Logs, menu: Menu):
        return compare(logs, {"p": menu}, np.linspace(0, 2, 25))

    def test_it_is_where_the_net_value_crosses_nothing(self):
        logs, menu = campaign(40_000)
        line = self.line(logs, menu)
        there = break_even(line, "p", value_per_unit=4.0)
        at = compare(logs, {"p": menu}, [there.budget])
        assert returns(at, value_per_unit=4.0).of("p")[0].net == pytest.approx(0.0, abs=0.004)
        assert there.low < there.budget < there.high
        assert 0.3 < there.best < there.budget
        assert (
            0 < there.best_low <= there.best <= there.best_high < 1.5
        )  # nothing, and everything, are far from the best

    def test_the_more_a_unit_brings_the_further_it_pays(self):
        logs, menu = campaign(40_000)
        line = self.line(logs, menu)
        found = [break_even(line, "p", value_per_unit=m) for m in (1.0, 4.0, 50.0)]
        assert found[0].budget == 0.0
        assert found[0].best == 0.0
        assert 0 < found[1].budget < np.inf
        assert found[2].budget == found[2].low == found[2].high == np.inf
        assert found[1].best <= found[2].best

    def test_its_interval_holds_the_truth(self):
        """Targeting the half that reacts with arm 1 brings .15 for .5; up to 1 per unit nothing more: at m = 5 it ends at .75."""
        inside = 0
        for seed in range(120):
            logs, _ = campaign(4000, seed=1000 + seed)
            first = (logs.x[:, 0] > 0.5) * 1.0
            menu = Menu(
                value=np.column_stack([0 * first, 0.1 + first + 0.01 * logs.x[:, 1], 0 * first]),
                cost=np.tile([0.0, 1.0, 2.0], (logs.n, 1)),
            )
            there = break_even(compare(logs, {"p": menu}, np.linspace(0, 1, 13)), "p", value_per_unit=5.0)
            inside += there.low <= 0.75 <= there.high
        assert inside >= 108  # 114 expected, standard deviation 2.4

    def test_without_effect_nothing_is_shown_to_pay(self):
        """Budgets are counted together: the lower end lies above 0 in 2.5 of 100 trials, not in the 10 to 14 of single looks."""
        above = 0
        for seed in range(120):
            logs, menu = campaign(1500, seed=7000 + seed, effect=0.0)
            cheap = Logs(
                x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost * 1e-4, propensity="uniform"
            )
            line = compare(cheap, {"p": Menu(value=menu.value, cost=menu.cost * 1e-4)}, np.linspace(0, 2e-4, 13))
            above += break_even(line, "p", value_per_unit=1.0).low > 0
        assert above <= 7  # 3 expected, standard deviation 1.7; 14 with single looks

    def test_only_budgets_that_can_be_wrong_are_counted_together(self):
        """Ends lie between those of all budgets together and those of each alone, and at those of each where one is left."""
        logs, menu = campaign(6000, seed=3)
        line = self.line(logs, menu)
        sums = Sums(line)
        rows = [sums.row("p", b, 4.0) for b in range(1, len(line.budgets))]  # nothing is spent at the first
        alone, together = np.array([row.net_low for row in rows]), sums.joint_ends(rows, 4.0)[:, 0]
        stepwise = sums.shown_above(rows, 4.0)
        assert (together < alone).all()
        assert (stepwise > together).all(), "some budgets are shown to pay, or to lose"
        assert (stepwise <= alone + 1e-12).all()
        (only,) = sums.shown_above(rows[:1], 4.0)
        assert only == pytest.approx(rows[0].net_low, rel=0.01)  # of 40,000 draws

    def test_no_budget_in_the_best_run_is_shown_to_have_less(self):
        for seed in range(6):
            logs, menu = campaign(6000, seed=seed)
            line = self.line(logs, menu)
            there = break_even(line, "p", value_per_unit=5.0)
            nets = {row.budget: row.net for row in returns(line, value_per_unit=5.0).of("p")}
            assert nets[there.best] == max(nets.values())
            for budget in line.budgets[(line.budgets >= there.best_low) & (line.budgets <= there.best_high)]:
                pair = compare(logs, {"p": menu}, sorted({float(budget), there.best}))
                if len(pair.budgets) == 2:  # the pair alone, as any two budgets of a line
                    alone = break_even(pair, "p", value_per_unit=5.0)
                    assert (alone.best_low, alone.best_high) == (pair.budgets[0], pair.budgets[1])
            for beyond in (
                *line.budgets[line.budgets < there.best_low][-1:],
                *line.budgets[line.budgets > there.best_high][:1],
            ):
                alone = break_even(
                    compare(logs, {"p": menu}, sorted({float(beyond), there.best})), "p", value_per_unit=5.0
                )
                assert (alone.best_low, alone.best_high) == (there.best, there.best)

    def test_a_curve_above_nothing(self):
        budget = np.array([0.0, 1.0, 2.0])
        assert _last(budget, np.array([1e-17, -1.0, -2.0])) == 0.0
        assert _last(budget, np.array([0.0, 1.0, -1.0])) == 1.5
        assert _last(budget, np.array([0.0, -1.0, 1.0])) == np.inf

    @pytest.mark.parametrize("seed", range(4))
    def test_rounding_at_a_budget_of_nothing_is_no_profit(self, seed: int):
        """Nothing is shown to pay: the lower end is exactly 0, whatever the sums at a budget of 0 round to."""
        logs, menu = campaign(1500, seed=seed, effect=0.0)
        other = Menu(value=menu.value * 0.1, cost=menu.cost * 0.1)
        cheap = Logs(
            x=logs.x, treatment=logs.treatment, value=logs.value * 0.3, cost=logs.cost * 0.1, propensity="uniform"
        )
        there = break_even(compare(cheap, {"p": other}, np.linspace(0, 0.2, 25)), "p", value_per_unit=0.3)
        assert there.low == 0.0

    def test_budgets_must_rise(self):
        logs, menu = campaign(400)
        with pytest.raises(DataError, match="budgets"):
            break_even(compare(logs, {"p": menu}, [0.5]), "p", value_per_unit=M)


class TestVerdicts:
    def of(self, logs: Logs, menu: Menu, m: float, budgets=(0.2, 0.4, 1.5)) -> list[str]:
        table = compare(logs, {"p": menu}, budgets)
        return [str(v) for v in verdicts(returns(table, value_per_unit=m), table, "p")]

    def test_targeted_untargeted_and_neither(self):
        logs, menu = campaign(20_000)
        assert self.of(logs, menu, 6.0)[:2] == ["spend this, targeted"] * 2
        assert self.of(logs, menu, 1.0) == ["shown not to pay"] * 3
        random = Menu(value=np.random.default_rng(1).random((logs.n, 3)), cost=menu.cost)
        assert self.of(logs, random, 20.0)[1] == "spend this, untargeted"

    def test_the_dearest_arm_may_be_the_worst(self):
        logs, menu = campaign(20_000, worst=True)
        assert self.of(logs, menu, 6.0)[1] == "spend this, targeted"

    def test_nothing_that_works_is_not_to_be_spent_on(self):
        """A treatment without effect whose spend is small against the noise: 'spend this' is said in at most 5 of 100 trials."""
        spent = 0
        for seed in range(200):
            logs, menu = campaign(1500, seed=2000 + seed, effect=0.0)
            cheap = Logs(
                x=logs.x, treatment=logs.treatment, value=logs.value, cost=logs.cost * 1e-4, propensity="uniform"
            )
            table = compare(cheap, {"p": Menu(value=menu.value, cost=menu.cost * 1e-4)}, [4e-5, 8e-5])
            spent += any(v.spends for v in verdicts(returns(table, value_per_unit=1.0), table, "p"))
        assert spent <= 10  # 5 at 2.5 %, standard deviation 2.2

    def test_more_budgets_do_not_find_more_by_chance(self):
        """Equicorrelated normals by quadrature: P(max <= c) = ∫ φ(z) Φ((c - √ρ z) / √(1 - ρ))^K dz."""
        z, w = np.polynomial.hermite_e.hermegauss(80)
        w = w / w.sum()
        for k, rho in ((1, 0.0), (2, 0.5), (10, 0.0), (10, 0.9)):
            level = _joint_level(_drawn(np.full((k, k), rho) + (1 - rho) * np.eye(k)), 0.95)
            c = ndtri((1 + level) / 2)
            together = w @ ndtr((c - np.sqrt(rho) * z) / np.sqrt(1 - rho)) ** k
            assert together == pytest.approx(0.975, abs=0.002)

    def test_a_verdict_needs_the_value_of_a_unit(self):
        logs, menu = campaign(400)
        table = compare(logs, {"p": menu}, [0.4])
        with pytest.raises(DataError, match="value_per_unit"):
            verdicts(returns(table), table, "p")

    def test_a_mix_that_spends_nothing_is_no_way_to_spend_a_budget(self):
        """All outcomes are 0: the best mix is control, whose net value of exactly 0 must not hide that the budget is lost."""
        logs, menu = campaign(2000)
        idle = Logs(x=logs.x, treatment=logs.treatment, value=np.zeros(logs.n), cost=logs.cost, propensity="uniform")
        assert self.of(idle, menu, 2.0) == ["shown not to pay"] * 3

    def test_a_policy_that_treats_nobody_is_not_out_of_reach(self):
        logs, menu = campaign(2000)
        nobody = Menu(value=np.column_stack([menu.value[:, 0], *[menu.value[:, 0] - 1] * 2]), cost=menu.cost)
        assert self.of(logs, nobody, 0.1) == ["not shown to pay"] * 3  # it loses nothing
        assert self.of(logs, nobody, 20.0)[1] == "spend this, untargeted"

    def test_what_the_policy_cannot_spend_the_best_mix_may(self):
        nan = float("nan")
        assert _verdict(np.array([nan, 0.1]), np.array([nan, 0.3]), better=False) is PayVerdict.UNTARGETED
        assert _verdict(np.array([nan, -0.1]), np.array([nan, 0.3]), better=False) is PayVerdict.OUT_OF_REACH
        assert _verdict(np.array([0.1, nan]), np.array([0.3, nan]), better=False) is PayVerdict.TARGETED
        assert _verdict(np.array([-0.3, nan]), np.array([-0.1, nan]), better=False) is PayVerdict.LOSES

    def test_only_two_verdicts_spend(self):
        assert [v.name for v in PayVerdict if v.spends] == ["TARGETED", "UNTARGETED"]
