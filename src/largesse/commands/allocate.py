"""`allocate`: applies the policy of a run to a file of units, within a budget, and writes who gets what."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from largesse import _check, frames
from largesse._files import MANIFEST
from largesse.allocate.blocks import Block, Run, Sums, in_blocks
from largesse.commands.budget_notes import OnAverage, on_average, safety_note
from largesse.commands.run_folder import Safety, id_column, open_run, read_units, rules_of_run, safety_of, scorer
from largesse.commands.under_rules import refuse_other_treatments, under_rules
from largesse.commands.wish import Wish
from largesse.config.rules import RulesFile
from largesse.engines.holdout import Holdout, shipped
from largesse.engines.parquet import Units, stream, streams
from largesse.frames.plans import PlanColumns
from largesse.menu import Menu, PlanTotals
from largesse.policy.curve import same_treatments
from largesse.policy.deployed import Allocation, Policy, allocated, control_sums
from largesse.policy.descent import Descent, between, descend, priced
from largesse.progress import Say, silent

__all__ = ["allocate_run"]

_OWN_RULES = "It obeys the rules that the run was proven under (rules.toml in its folder); --no-rules leaves them out."


def allocate_run(
    folder: Path, users: Path, budget: float | None, output: Path, *, budget_per_unit: float | None = None,
    price: float | None = None, min_return: float = 1.0, value_per_unit: float | None = None, safety: Safety = "configured",
    rules: Path | None = None, follow_rules: bool = True,
    unit: str | None = None, keep: Sequence[str] = (), holdout: Holdout | None = None,
    say: Say = silent, n_threads: int = 1,
) -> Allocation[PlanTotals]:  # fmt: skip
    """Decides who gets what within a budget, or whatever pays, and writes it: whole or not at all.

    From Parquet to Parquet the units are never in memory all at once, each is scored once, and the same call resumes an
    interrupted one; the allocation is the same as in memory.

    Args:
        folder: A run folder.
        users: The units, with the features of the run: a file, or a folder of Parquet files.
        budget: Total budget of these units, without those that are kept back; infinity for no limit; None: everybody gets what
            pays, or what `price` gives.
        output: The allocation: .parquet, .csv or .feather.
        budget_per_unit: Instead of a total: money for each unit that is not kept back.
        price: Instead of a budget: shadow price λ, value per unit of spend.
        min_return: Money that each unit of spend must bring back by the model's predictions, where there is no budget. With a
            budget, a note says what is spent below it.
        value_per_unit: Money that one unit of value brings; None: as declared in the run, outcome.value_per_unit and margin.
        safety: Probability of staying within the budget; ``"configured"``: that of the run; None: within it on average.
        rules: A TOML file of further rules, see `RulesFile`; the units are then read into memory. None: those that the run was
            proven under, if there are any.
        follow_rules: Whether the rules that the run was proven under are obeyed where none are given.
        unit: Column of the ids; None: that of the run, ``columns.unit``. The allocation has it under its own name.
        keep: Further columns of the units that the allocation has too.
        holdout: Units that are kept back as a random control group; None: none are.
        say: Called with each stage and the share of the work that is done.
        n_threads: Threads of the search; the allocation is the same for any number.

    Returns:
        The allocation of the units that are not kept back.

    Raises:
        InfeasibleBudget: Even the cheapest treatment for every unit costs more.
        LargesseError: Neither budget nor price is given and what pays is not known, the run or the units cannot be read, or the
            output cannot be written.
    """
    config, policy = open_run(folder)
    frames.writable(output, users)
    money = config.outcome.unit_value if value_per_unit is None else value_per_unit
    wish = Wish.of(budget, price, min_return, money, per_unit=budget_per_unit, safety=safety)
    job = _Job(
        policy=policy, users=users, output=output, wish=wish, safety=safety_of(config, safety) if wish.limited else None,
        unit=id_column(policy, unit), keep=tuple(keep), holdout=holdout,
    )  # fmt: skip
    own = rules_of_run(folder) if rules is None else None
    if own is not None and follow_rules:
        rules = own
    if holdout is not None:
        _check_holdout(job, rules)
    form = job.form  # refuses names before anything is read
    if rules is not None:
        if not wish.limited:
            remedy = "Give --budget; inf is no limit." + (" --no-rules leaves the rules of the run out." if own else "")
            raise _check.refuse("--rules", str(rules), "rules need a budget", remedy)
        done = _under_rules(job, RulesFile.load(rules), form, n_threads)
        return done if own is None else replace(done, notes=(_OWN_RULES, *done.notes))
    if policy.encoder is not None and streams(users, output):
        return _streamed(job, folder, say, n_threads)
    return _in_memory(job, form)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is to be decided and written.

    Attributes:
        policy: The policy.
        users: The units.
        output: The allocation.
        wish: The budget or the price.
        safety: Probability of staying within the budget; None: on average.
        unit: Column of the ids; None: units are numbered.
        keep: Further columns that the allocation has too.
        holdout: Units that are kept back; None: none are.
    """

    policy: Policy
    users: Path
    output: Path
    wish: Wish
    safety: float | None
    unit: str | None
    keep: tuple[str, ...]
    holdout: Holdout | None

    @property
    def form(self) -> PlanColumns:
        """The columns of the allocation."""
        share = None if self.holdout is None else self.holdout.share
        return PlanColumns(
            treatments=self.policy.curve.treatments, unit=self.unit, keep=self.keep, unit_value=self.wish.unit_value,
            holdout=share,
        )  # fmt: skip

    def decide(self, run: Run) -> tuple[Descent, float]:
        """Returns the price of the units of all blocks, and their budget."""
        curve, wish = self.policy.curve, self.wish
        if not wish.limited:
            return priced(curve, run, wish.price), float("inf")
        limit = wish.total(sum(run(_count)) if wish.per_unit is not None else 0)
        return descend(curve, run, limit, self.safety), limit

    def read(self, *more: str) -> tuple[pa.Table, Menu]:
        """Returns the units and their menu.

        Args:
            more: Further columns whose cells stay as they are in a CSV file.
        """
        table = read_units(self.users, self.policy, self.form.copied, *more)
        names = None if self.unit is None else frames.ids(table, self.unit)
        if names is not None:
            _check.unique("unit", names)
        menu = self.policy.menu(table, unit=names)
        same_treatments(self.policy.curve, menu.treatments)
        return table, menu


def _count(block: Block) -> int:
    return block.n


def _check_holdout(job: _Job, rules: Path | None) -> None:
    """Refuses a holdout that cannot be drawn, or whose propensities would not be known."""
    assert job.holdout is not None
    if job.unit is None:
        raise _check.refuse(
            "--holdout", job.holdout.share, "is drawn by the ids of the units, and the run names no column of ids",
            "Name it: --id user.",
        )  # fmt: skip
    if rules is not None:
        raise _check.refuse(
            "--holdout", job.holdout.share, "cannot be used with rules, which decide all units together",
            "Draw the control group before: largesse assign, then give --rules the units of the other arm.",
        )  # fmt: skip


def _in_memory(job: _Job, form: PlanColumns) -> Allocation[PlanTotals]:
    table, menu = job.read()
    run, back = in_blocks(menu), None
    if job.holdout is not None and menu.unit is not None:
        back = job.holdout.of(menu.unit.tolist())
        run = shipped(run, back)
    decision, limit = job.decide(run)
    treatment = decision.of(Block.of(menu))
    first = form.first(table, 0, menu.n)
    frames.write(form.table(first, menu.value.T, menu.cost.T, treatment, decision.price, back), job.output)
    sums = Sums.over(run(_Audit(decision)))
    done = allocated(job.policy.curve, decision, sums, limit, job.safety, control_sums(run), job.wish.unit_value)
    cost = _cost_of_safety(job, run, decision, limit)
    notes = (*safety_note(job.policy.curve, done, cost), *job.wish.notes_at(run, decision.price))
    return _noted(done, 0 if back is None else int(np.count_nonzero(back)), notes)


def _cost_of_safety(job: _Job, run: Run, decision: Descent, limit: float) -> OnAverage | None:
    return on_average(
        job.safety, limit, decision, lambda: descend(job.policy.curve, run, limit, None),
        lambda low, high: between(run, low, high),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Audit:
    """Returns the `Block.audit` of a decision."""

    decision: Descent

    def __call__(self, block: Block) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return block.audit(self.decision.of(block))


def _noted(done: Allocation[PlanTotals], back: int, notes: tuple[str, ...]) -> Allocation[PlanTotals]:
    """Returns an allocation with further notes, and the number of units that are kept back."""
    if back:
        notes = (
            f"{back:,} of {back + done.n:,} units are kept back with {done.plan.treatments[0]!r}. The budget is that of the "
            "others, and so are counts, spend and value.", *notes,
        )  # fmt: skip
    return replace(done, notes=(*done.notes, *notes), held_out=back)


def _streamed(job: _Job, folder: Path, say: Say, n_threads: int) -> Allocation[PlanTotals]:
    limits, notes, costs, idle = [], [], [], []

    def decide(run: Run) -> Descent:
        decision, limit = job.decide(run)
        limits.append(limit)
        notes.append(job.wish.notes_at(run, decision.price))
        costs.append(_cost_of_safety(job, run, decision, limit))
        idle.append(control_sums(run))
        return decision

    streamed = stream(_units(job, folder), job.output, decide, say=say, n_threads=n_threads)
    done = allocated(
        job.policy.curve, streamed.decision, streamed.sums, limits[-1], job.safety, idle[-1], job.wish.unit_value
    )
    return _noted(done, streamed.withheld, (*safety_note(job.policy.curve, done, costs[-1]), *notes[-1]))


def _units(job: _Job, folder: Path) -> Units:
    digest = hashlib.sha256((folder / "policy" / MANIFEST).read_bytes()).hexdigest()
    columns, menu = scorer(job.policy)
    return Units(
        path=job.users, columns=columns, unit=job.unit, menu=menu, treatments=job.policy.curve.treatments,
        key={"policy": digest}, keep=job.keep, unit_value=job.wish.unit_value, holdout=job.holdout,
    )  # fmt: skip


def _under_rules(job: _Job, rules_file: RulesFile, form: PlanColumns, n_threads: int) -> Allocation[PlanTotals]:
    """Allocates under rules, see `under_rules`, and writes it."""
    policy, wish = job.policy, job.wish
    table, menu = job.read(*rules_file.text)
    refuse_other_treatments(rules_file, menu.treatments)
    free, control = policy.allocate(menu, wish.total(menu.n), safety=job.safety), control_sums(in_blocks(menu))
    made = under_rules(
        policy.curve, menu, free, rules_file, table, control, unit_value=wish.unit_value, n_threads=n_threads
    )
    first, decided = form.first(table, 0, menu.n), made.menu
    frames.write(form.table(first, decided.value.T, decided.cost.T, made.treatment, made.price), job.output)
    return _noted(made.allocation, 0, wish.notes_of(menu, made.treatment))
