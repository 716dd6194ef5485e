"""Bi-level decision-focused learning: what is learned from the log is corrected by decisions on the trial."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from largesse import _check
from largesse._random import number
from largesse.logs import Logs
from largesse.models.base import Model, State, training_rows
from largesse.models.bilevel.bridge import Bridge, Gates
from largesse.models.bilevel.levels import Hypergradient, Levels, Solves, Teacher
from largesse.models.decision.dfcl import DFCL, TUNING, Start
from largesse.models.decision.joint import Joint, trial_rows
from largesse.models.decision.losses import LOSSES, PPL, DecisionLoss
from largesse.models.decision.shrinkage import between, target_budgets
from largesse.models.nets.checkpoint import checkpointer
from largesse.models.nets.hypergradient import Solver
from largesse.models.nets.minibatch import Schedule, Step, threads, train, weights_from
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.nets.weights import load_weights, weights_of
from largesse.models.outcome import Outcome, Response
from largesse.models.two_stage.corrected import Corrected
from largesse.models.two_stage.lightgbm import Boosting
from largesse.models.two_stage.mlp import MLP
from largesse.models.two_stage.stack import Stack
from largesse.store import nest, unnest

__all__ = ["BiDFCL", "GateMap"]

BILEVEL = Schedule(epochs=3, batch=4096, rate=1e-3, decay=0.1, average=0.5, least=100)
_CHUNK = 8192


class GateMap(NamedTuple):
    """Where the model follows the teacher, (N, M): 1 wholly, 0 not at all; and how much logged outcomes count, 1 as they are.

    Attributes:
        value: Gates of the value.
        cost: Gates of the cost.
        logged: Weights of logged outcomes of the log, in (0, 2).
    """

    value: NDArray[np.float32]
    cost: NDArray[np.float32]
    logged: NDArray[np.float32]


@dataclass(kw_only=True, eq=False, repr=False)
class BiDFCL(Model):
    """A network that learns from the log and from a teacher's opinion of the treatments that were not given.

    Three parts: the *target* is the network that decides. The *teacher* is learned first and frozen. The *bridge*
    opens a gate for each unit and treatment: how far the target follows the teacher where the log is silent. The target
    learns from the log (lower level); the gates from what the target's decisions are worth on the trial (upper level).

    Args:
        base: The two-stage network that the target starts from; `data` says which rows the lower level has: ``"both"``
            (log and trial) or ``"obs"``.
        teacher: Any model whose menu is in money; a clone is fitted. None: the mean of the base, LightGBM on
            both, LightGBM on the log corrected on the trial, and LightGBM on the trial.
        decision: Loss of the upper level.
        gates: What the gates are, and how they learn.
        hypergradient: How the trial moves the gates.
        alpha: Weight of the prediction loss on the trial beside the decision loss.
        tune: Whether the target is tuned by the decision loss in the end.
        shrinkage_weight: How far the served menu goes from the teacher's to the target's, in [0, 1].
        outcome: Family and cost rule; None: the base's, or inferred from the rows.
        schedule: Epochs, batch, rate and averaging of the two levels.
        tuning: The same for the tuning in the end.
        seed: Row orders and draws.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder that keeps unfinished trainings: the same fit, begun again after a kill, goes on from there.

    Attributes:
        teacher_: The fitted teacher.
        target_: The network that decides.
        bridges_: The gates, one bridge per network.
        solves_: How the linear systems of the implicit form were solved, one entry per network.
        budgets_: Target budgets, money per head.

    Raises:
        DataError: No log was given, or the teacher's menu is not in money.

    Reference:
        Bi-DFCL, NeurIPS 2025 (arXiv 2510.19517): equations of the two levels, algorithm of the implicit hypergradient.

    >>> rng = np.random.default_rng(0)
    >>> def rows(n, **more):
    ...     x, t = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    ...     order = (rng.random(n) < 0.3 + 0.3 * t * (x[:, 0] > 0)).astype(float)
    ...     return Logs(x=x, treatment=t, value=order, cost=2.0 * t * order, **more)
    >>> model = BiDFCL(MLP(members=1)).fit(rows(600), rows(2000, design="obs", propensity=None))
    >>> model.gates_of(np.zeros((1, 2))).value.shape
    (1, 2)
    """

    base: MLP = field(kw_only=False)
    teacher: Model | None = None
    decision: DecisionLoss = PPL()
    gates: Gates = Gates()
    hypergradient: Hypergradient = Hypergradient()
    alpha: float = 0.1
    tune: bool = False
    shrinkage_weight: float = 1.0
    outcome: Outcome | None = None
    schedule: Schedule = BILEVEL
    tuning: Schedule = TUNING
    seed: int = 0
    n_threads: int = 1
    on_step: Step | None = None
    checkpoint: str | None = None

    @classmethod
    def published(cls, kind: str = "ppl", **changes: Any) -> Self:
        """Returns the paper's form.

        Squared errors and free heads, a two-stage teacher learned on the trial, the lower level on the log alone, gates
        for each unit from a network like the target's, 50 conjugate gradient steps, money spent not counted.

        Args:
            kind: ``"ppl"`` or ``"pifd"``.
            changes: Other parameters.
        """
        given = {
            "base": MLP.published(data="obs"), "teacher": MLP.published(data="rct"), "alpha": 0.0,
            "decision": LOSSES[_check.choice("kind", kind, tuple(LOSSES))].published(),
            "gates": Gates(hidden=(128, 64, 32)),
            "hypergradient": Hypergradient(solver=Solver(iterations=50, warm=False)), **changes,
        }  # fmt: skip
        return cls(given.pop("base"), **given)

    @property
    def network(self) -> MLP:
        """The base; once fitted, the target."""
        return self.target_ if hasattr(self, "target_") else self.base

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        if obs is None:
            raise _check.refuse("obs", None, "BiDFCL corrects what a log teaches", "Give obs; without a log use DFCL.")
        if not isinstance(self.base, MLP):
            raise _check.refuse("base", self.base, "must be an MLP", "Another model can be the teacher.")
        _check.choice("base.data", self.base.data, ("both", "obs"))
        _check.number("alpha", self.alpha, low=0)
        _check.number("shrinkage_weight", self.shrinkage_weight, low=0, high=1)
        self.learn_from(self._tuner().prepare(rct, obs), rct, obs)

    def learn_from(self, start: Start, rct: Logs, obs: Logs, teacher: Model | None = None) -> Self:
        """Learns from what `DFCL.prepare` gave for the same rows, and from a teacher that is already fitted; returns self."""
        self.treatments_, self.features_, self.outcome_ = rct.treatments, rct.features, start.base.outcome_
        self.budgets_ = target_budgets(rct, self.decision.budgets)
        self.teacher_ = teacher or self._taught(start, rct, obs)
        if self.shrinkage_weight < 1 and self.teacher_.outcome_ != self.outcome_:
            rule = f"the teacher takes the outcome as {self.teacher_.outcome_.describe()} The target: {self.outcome_.describe()}"
            raise _check.refuse(
                "shrinkage_weight",
                self.shrinkage_weight,
                rule,
                "Set shrinkage_weight=1, or give both the same outcome.",
            )
        target, rows = copy.deepcopy(start.base), self._lower_rows(rct, obs)
        self.bridges_: list[Bridge] = []
        self.solves_: list[Solves] = []
        with threads(self.n_threads):
            for k, net in enumerate(target.nets_):
                self._both_levels(net, rows, rct, number(self.seed, 2, k))
        self.target_ = self._tuner().learn_from(Start(target, ()), rct).tuned_ if self.tune else target
        return self

    def _tuner(self) -> DFCL:
        return DFCL(
            self.base, decision=self.decision, alpha=self.alpha, shrinkage_weight=1.0, outcome=self.outcome, schedule=self.tuning,
            seed=self.seed, n_threads=self.n_threads, on_step=self.on_step, checkpoint=self.checkpoint,
        )  # fmt: skip

    def _taught(self, start: Start, rct: Logs, obs: Logs) -> Model:
        if self.teacher is None:
            _, *others = self._learners(start.base.outcome_)
            return Stack.of([start.base, *(learner.fit(rct, obs) for learner in others)])
        if not self.teacher.menu_in_currency:
            rule = "its menu counts treatments, and gates mix values and costs"
            raise _check.refuse("teacher", type(self.teacher).__name__, rule, "Use Boosting, MLP or DFCL.")
        teacher: Model = clone(self.teacher)
        for name, given in (("outcome", self._outcome_for(rct, obs)), ("checkpoint", self.checkpoint)):
            if given is not None and teacher.get_params(deep=False).get(name, 0) is None:
                teacher.set_params(**{name: given})
        return teacher.fit(rct, obs)

    def _learners(self, outcome: Outcome | None) -> tuple[Model, ...]:
        """Returns what the default teacher is the mean of, unfitted, the base first."""
        how: dict[str, Any] = {"outcome": outcome, "seed": self.seed, "n_threads": self.n_threads}
        return self.base, Boosting(**how), Corrected(Boosting(**how), **how), Boosting(data="rct", **how)

    def _lower_rows(self, rct: Logs, obs: Logs) -> tuple[Rows, Teacher]:
        """Returns the rows of the lower level, and what the teacher expects of every treatment there."""
        logs = training_rows(self.base.data, rct, obs)
        observed = torch.ones(logs.n)
        observed[: logs.n - obs.n] = 0.0
        rows = Rows.of(logs, observed=observed)
        answer = self.teacher_.predict_response(logs.x)
        paid = self.teacher_.menu(answer).cost if answer.cost is None else answer.cost
        value, conversion, cost = (
            None if a is None else torch.tensor(np.asarray(a), dtype=torch.float32)
            for a in (answer.value, answer.conversion, paid)
        )
        assert value is not None
        return replace(rows, weight=rows.weight / rows.weight.mean()), (value, conversion, cost)

    def _both_levels(self, net: ResponseNet, lower: tuple[Rows, Teacher], rct: Logs, seed: int) -> None:
        with weights_from(seed):
            bridge = Bridge(self.gates, len(self.features_), net.m)
        bridge.look_like(net)
        upper = trial_rows(rct, arm_weighted=self.base.arm_weighted)
        trial = Joint(net, upper, self.decision, self.alpha, self.budgets_)
        levels = Levels(net, bridge, lower, trial, self.hypergradient, seed + 1)
        rows, teacher = lower
        how = (self.decision, self.gates, self.hypergradient, self.alpha, self.budgets_, self.schedule, seed)
        depends = (
            *rows.columns, *(a for a in teacher if a is not None), *upper.columns, *net.state_dict().values(),
            self.base.dropout, net.plain, net.outcome, how,
        )  # fmt: skip
        kept = checkpointer(self.checkpoint, *depends)
        train(net, levels, len(rows), self.schedule, seed, self.on_step, kept, levels)
        self.bridges_.append(bridge.eval())
        self.solves_.append(levels.solves())

    def gates_of(self, x: NDArray[Any]) -> GateMap:
        """Returns the gates of rows of features (N, d), mean over the networks."""
        rows = torch.tensor(np.asarray(x), dtype=torch.float32)
        with torch.inference_mode(), threads(self.n_threads):
            each = [[bridge(rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)] for bridge in self.bridges_]
            mean = [
                torch.stack([torch.cat([getattr(part, name) for part in parts]) for parts in each]).mean(0).numpy()
                for name in GateMap._fields
            ]
        return GateMap(*mean)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        own = self.target_.predict_response(x)
        return (
            own
            if self.shrinkage_weight == 1
            else between(self.teacher_.predict_response(x), own, self.shrinkage_weight)
        )

    def state(self) -> State:
        """Returns the target's state, the bridges' and, where it is served too, the teacher's."""
        settings, arrays = self.target_.state()
        parts = {"target": arrays} | {f"bridge.{k}": weights_of(bridge) for k, bridge in enumerate(self.bridges_)}
        found: dict[str, Any] = {"target": settings, "budgets": list(self.budgets_)}
        if self.shrinkage_weight < 1:
            taught, parts["teacher"] = self.teacher_.state()
            found |= {"teacher": taught}
        return found, nest(**parts)

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        self.target_ = self.restored_part(self.base, settings["target"], unnest("target", arrays))
        self.budgets_ = tuple(settings["budgets"])
        if "teacher" in settings:
            taught = Stack(self._learners(None)) if self.teacher is None else self.teacher
            self.teacher_ = self.restored_part(taught, settings["teacher"], unnest("teacher", arrays))
        self.bridges_, self.solves_ = [], []
        for k in range(len(self.target_.nets_)):
            bridge = Bridge(self.gates, len(self.features_), len(self.treatments_))
            self.bridges_.append(load_weights(bridge, unnest(f"bridge.{k}", arrays)))
