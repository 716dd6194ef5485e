"""Calls of the public API that mypy must report: an error that is not found leaves an unused `type: ignore`. Never run.

`tests/models/misuse.py` has those of the models.
"""

from __future__ import annotations

import numpy as np

from largesse import (
    Encoder,
    Logs,
    Menu,
    Policy,
    Roles,
    check,
    compare,
    frames,
    frontier,
    intervals,
    outcome_curve,
    simulate,
    solve,
)
from largesse.allocate import (
    Chance,
    ClusterCells,
    Count,
    Pacer,
    Return,
    Spend,
    Use,
    assign,
    grid,
    plan_clusters,
    price_plan,
    solve_under,
)  # fmt: skip
from largesse.checks import balance, power
from largesse.config import Config, load, parse
from largesse.evaluate import (
    BettingSequence,
    Bootstrap,
    EqualSpendSequence,
    MeanSequence,
    aucc,
    auuc,
    confidence_sequence,
    cost_curve,
    effect_share,
    true_value,
)
from largesse.experiment import (
    Columns,
    CrossFit,
    Metric,
    Settings,
    always_valid,
    boundaries,
    measure,
    plan_test,
    replay,
)
from largesse.menu import Status
from largesse.models import Student
from largesse.serving import Served, export


def containers(rows: Logs, menu: Menu) -> None:
    Logs(x=[[0.0]], treatment=[0], value=[1.0])  # type: ignore[call-arg]
    Logs([[0.0]], [0], [1.0], [1.0])  # type: ignore[call-arg]
    Logs(x=[[0.0]], treatment=[0], value=[1.0], cost=[0.0], design="trial")  # type: ignore[arg-type]
    Logs(x=[[0.0]], treatment=[0], value=[1.0], cost=[0.0], propensity="unifrom")  # type: ignore[arg-type]
    Logs(x=[[0.0]], treatment=[0], value=[1.0], cost=[0.0], propensity=0.5)  # type: ignore[arg-type]
    Logs(x=[[0.0]], treatment=[0], value=[1.0], cost=[0.0], treatments=3)  # type: ignore[arg-type]
    rows.propensities  # type: ignore[attr-defined] # noqa: B018
    rows.split("half")  # type: ignore[arg-type]
    rows.take(0.5)  # type: ignore[arg-type]
    rows | menu  # type: ignore[operator]
    rows.x = np.zeros((1, 1))  # type: ignore[assignment, misc]
    Roles(treatment="arm")  # type: ignore[call-arg]
    Roles(treatment="arm", value="orders", features=3)  # type: ignore[arg-type]
    Roles(treatment="arm", value="orders", feature=["age"])  # type: ignore[call-arg]
    Roles(treatment="arm", value=["orders"])  # type: ignore[arg-type]
    Menu(value=[[0.0, 1.0]])  # type: ignore[call-arg]
    Menu(value=[[0.0, 1.0]], cost=[[0.0, 1.0]], treatment=("0", "5"))  # type: ignore[call-arg]
    menu.take("first")  # type: ignore[arg-type]


def allocation(rows: Logs, menu: Menu) -> None:
    solve(menu)  # type: ignore[call-arg]
    solve(rows, 10.0)  # type: ignore[arg-type]
    solve(menu, "10")  # type: ignore[arg-type]
    solve(menu, budget=10.0, threads=2)  # type: ignore[call-arg]
    solve(menu, 10.0).mix["0"].shares  # type: ignore[attr-defined] # noqa: B018
    Status.BEST  # type: ignore[attr-defined] # noqa: B018
    solve_under(menu, Spend(at_most=3.0))  # type: ignore[arg-type]
    solve_under(menu, [Spend(at_most="3")])  # type: ignore[arg-type]
    solve_under(menu, [Count(at_most=3)])  # type: ignore[call-arg]
    solve_under(menu, [Return(2.0)], eligible="all")  # type: ignore[arg-type, call-arg]
    Return(at_least=2.0, at_most=3.0)  # type: ignore[call-arg]
    Use(name="calls")  # type: ignore[call-arg]
    Pacer(100.0)  # type: ignore[call-arg]
    Pacer(100.0, 10).decide([0.0, 1.0])  # type: ignore[call-arg]
    Pacer(100.0, 10).report("a")  # type: ignore[call-arg]
    assign(menu, None)  # type: ignore[arg-type]
    price_plan(menu, "1")  # type: ignore[arg-type]
    grid(menu, "a lot")  # type: ignore[arg-type]
    frontier(rows)  # type: ignore[arg-type]
    frontier(menu).value_at("10")  # type: ignore[arg-type]
    intervals(menu, 1.0)  # type: ignore[call-arg]
    plan_clusters(menu, [1.0])  # type: ignore[arg-type]
    plan_clusters(ClusterCells(size=[1.0], value=[[0.0]], cost=[[0.0]]), 3.0)  # type: ignore[arg-type]
    Chance(eps=0.1)  # type: ignore[call-arg]


def evaluation(rows: Logs, menu: Menu) -> None:
    outcome_curve(rows)  # type: ignore[call-arg]
    outcome_curve(menu, rows)  # type: ignore[arg-type]
    outcome_curve(rows, menu, estimator="ipw")  # type: ignore[arg-type]
    compare(rows, menu, [1.0])  # type: ignore[arg-type]
    compare(rows, {"a": menu}, [1.0], draws=100)  # type: ignore[call-arg]
    compare(rows, {"a": menu}, "half")  # type: ignore[arg-type]
    Bootstrap(draws="many")  # type: ignore[arg-type]
    effect_share(compare(rows, {"a": menu}, [1.0]), "a", "first")  # type: ignore[arg-type]
    aucc(rows, menu, form="publshed")  # type: ignore[arg-type]
    auuc(rows, [0.5], form="scikit")  # type: ignore[arg-type]
    cost_curve(rows)  # type: ignore[call-arg]
    true_value(menu, rows, [1.0])  # type: ignore[arg-type]
    check(menu)  # type: ignore[arg-type]
    check(rows, budget=[1.0])  # type: ignore[call-arg]
    power(rows, budgets="all")  # type: ignore[arg-type]
    balance(rows, rows="all")  # type: ignore[arg-type]


def policies_and_files(rows: Logs, menu: Menu, policy: Policy, roles: Roles) -> None:
    Policy(model=menu)  # type: ignore[arg-type, call-arg]
    Policy.load(3)  # type: ignore[arg-type]
    policy.allocate(menu)  # type: ignore[call-arg]
    policy.allocate(menu, "100")  # type: ignore[arg-type]
    policy.allocate(menu, 100.0, safety="high")  # type: ignore[arg-type]
    policy.allocate(menu, 100.0).spend.mena  # type: ignore[attr-defined] # noqa: B018
    policy.realised(rows, [1.0], sede=3)  # type: ignore[call-arg]
    frames.logs("rows.csv")  # type: ignore[call-arg]
    frames.logs(rows, roles)  # type: ignore[arg-type]
    frames.logs("rows.csv", {"treatment": "arm"})  # type: ignore[arg-type]
    frames.logs("rows.csv", roles, design="trial")  # type: ignore[arg-type]
    frames.logs("rows.csv", roles, propensity="unifrom")  # type: ignore[arg-type]
    frames.read(3)  # type: ignore[arg-type]
    frames.read("rows.csv", columns=3)  # type: ignore[arg-type]
    frames.write(solve(menu, 1.0), "plan.csv")  # type: ignore[arg-type]
    Encoder.fit("rows.csv")  # type: ignore[call-arg]
    frames.plan_table(menu)  # type: ignore[arg-type]
    load(3)  # type: ignore[arg-type]
    parse(b"")  # type: ignore[arg-type]
    Config(data={})  # type: ignore[arg-type, call-arg]
    load("c.toml").budget.safty  # type: ignore[attr-defined] # noqa: B018
    Served.load("x", thread=1)  # type: ignore[call-arg]
    export(policy, [[0.0]], [1.0], "out")  # type: ignore[arg-type]


def simulation_and_experiments(rows: Logs, menu: Menu) -> None:
    simulate.money_off(seed="a")  # type: ignore[arg-type]
    simulate.money_off(noise="loud")  # type: ignore[arg-type]
    simulate.discount(nose=2.0)  # type: ignore[call-arg]
    simulate.money_off().rct()  # type: ignore[call-arg]
    simulate.hybrid(menu)  # type: ignore[arg-type]
    measure("t.csv", columns="arm")  # type: ignore[arg-type]
    Columns(arm="group")  # type: ignore[call-arg]
    Columns(arm="group", metrics=("y",))  # type: ignore[arg-type]
    Metric()  # type: ignore[call-arg]
    Settings(cross_fit=5)  # type: ignore[arg-type]
    CrossFit(fold=3)  # type: ignore[call-arg]
    always_valid(0.1)  # type: ignore[call-arg]
    boundaries([0.5, 1.0], spending="haybittle")  # type: ignore[arg-type]
    replay(rows)  # type: ignore[arg-type]
    MeanSequence()  # type: ignore[call-arg]
    BettingSequence(100, 1.0)  # type: ignore[arg-type]
    EqualSpendSequence(100).look()  # type: ignore[call-arg]
    confidence_sequence([0.0, 1.0], side="left")  # type: ignore[arg-type]
    plan_test(rows, effect=0.1, shares={"a": 1.0})  # type: ignore[arg-type]


def accepted(student: Student) -> tuple[Menu, Logs, Roles]:
    logs = Logs(
        x=[[0.0], [1.0]],
        treatment=[0, 1],
        value=[0, 1],
        cost=[0, 2.0],
        propensity={"0": 0.5, "1": 0.5},
        unit=["a", "b"],
    )
    menu = Menu(value=[[0.0, 3.0]], cost=[[0.0, 1.0]], treatments=["no", "yes"])
    aucc(logs, [0.2, 0.1], points=2)
    frontier(menu).value_at([1.0, 2.0])
    MeanSequence(100).update([0.0, 1.0], weight=np.ones(2), cluster=["a", "b"]).look().contains(0.5)
    compare(logs, {"a": student.predict([[0.0], [1.0]])}, 3.0)
    plan_clusters(ClusterCells(size=[1], value=[[0, 1.0]], cost=[[0, 1.0]]), [1.0])
    return (
        menu.take([0]),
        logs.take([0, 1]),
        Roles(treatment="t", value="v", features=["age"], treatments=[0, 5.0, "10"]),
    )
