"""Bi-level decision-focused learning: a network fitted on past campaign data, corrected by decisions on the trial."""

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
    """Gates of units and treatments, each (N, M): the weight of the teacher in a pseudo-label.

    Attributes:
        value: Gates of the value, in (0, 1).
        cost: Gates of the cost, in (0, 1).
        logged: Weights of the logged outcomes of the OBS log, in (0, 2).
    """

    value: NDArray[np.float32]
    cost: NDArray[np.float32]
    logged: NDArray[np.float32]


@dataclass(kw_only=True, eq=False, repr=False)
class BiDFCL(Model):
    """A network fitted on the OBS log, with pseudo-labels from a teacher for the treatments that were not given.

    The *target* is the network that decides. The *teacher* is fitted first and frozen. The *bridge* gives a gate for each
    unit and treatment: the weight of the teacher in the pseudo-label. The lower level fits the target on the log; the upper
    level fits the gates to the value of the target's decisions on the trial.

    Args:
        base: The two-stage network that the target starts from; its `data` are the rows of the lower level: ``"both"``
            (log and trial) or ``"obs"``.
        teacher: Any model whose menu is in currency; a clone is fitted. None: the mean of the base, LightGBM on log and
            trial, LightGBM on the log corrected on the trial, and LightGBM on the trial.
        decision: Decision loss of the upper level.
        gates: Form and training of the gates.
        hypergradient: The gradient of the upper level in the gates.
        alpha: Weight of the prediction loss on the trial in the upper level.
        tune: Whether the target is fine-tuned with the decision loss at the end.
        shrinkage_weight: Weight of the target against the teacher in the predictions, in [0, 1].
        outcome: Family and cost rule; None: those of the base, or inferred from the rows.
        schedule: Epochs, batch size, learning rate and weight averaging of the two levels.
        tuning: The same for the fine-tuning.
        seed: Of row orders and draws.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step.
        checkpoint: Folder for checkpoints: after a kill, the same fit continues from the last checkpoint.

    Attributes:
        teacher_: The fitted teacher.
        target_: The network that decides.
        bridges_: The gates, one bridge per network.
        solves_: Diagnostics of the linear systems of the implicit form, one entry per network.
        budgets_: Target budgets per unit.

    Raises:
        DataError: No log was given, or the menu of the teacher is not in currency.

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
        """Returns the form of the paper.

        Squared errors and unconstrained heads, a two-stage teacher fitted on the trial, the lower level on the log alone, gates
        from a network of the target's size, 50 conjugate gradient iterations, μ = 0 in the decision loss.

        Args:
            kind: ``"ppl"`` or ``"pifd"``.
            changes: Other parameters.
        """
        options = {
            "base": MLP.published(data="obs"), "teacher": MLP.published(data="rct"), "alpha": 0.0,
            "decision": LOSSES[_check.choice("kind", kind, tuple(LOSSES))].published(),
            "gates": Gates(hidden=(128, 64, 32)),
            "hypergradient": Hypergradient(solver=Solver(iterations=50, warm=False)), **changes,
        }  # fmt: skip
        return cls(options.pop("base"), **options)

    @property
    def network(self) -> MLP:
        """The base; in a fitted model, the target."""
        return self.target_ if hasattr(self, "target_") else self.base

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        if obs is None:
            raise _check.refuse("obs", None, "BiDFCL needs past campaign data", "Give obs; without a log use DFCL.")
        if not isinstance(self.base, MLP):
            raise _check.refuse("base", self.base, "must be an MLP", "Another model can be the teacher.")
        _check.choice("base.data", self.base.data, ("both", "obs"))
        _check.number("alpha", self.alpha, low=0)
        _check.number("shrinkage_weight", self.shrinkage_weight, low=0, high=1)
        self.learn_from(self._tuner().prepare(rct, obs), rct, obs)

    def learn_from(self, start: Start, rct: Logs, obs: Logs, teacher: Model | None = None) -> Self:
        """Fits from the networks that `DFCL.prepare` returned for the same rows, and a fitted teacher if given; returns self."""
        self.treatments_, self.features_, self.outcome_ = rct.treatments, rct.features, start.base.outcome_
        self.budgets_ = target_budgets(rct, self.decision.budgets)
        self.teacher_ = teacher or self._fitted_teacher(start, rct, obs)
        if self.shrinkage_weight < 1 and self.teacher_.outcome_ != self.outcome_:
            rule = f"the outcome of the teacher is: {self.teacher_.outcome_.describe()} The target: {self.outcome_.describe()}"
            remedy = "Set shrinkage_weight=1, or give both the same outcome."
            raise _check.refuse("shrinkage_weight", self.shrinkage_weight, rule, remedy)
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

    def _fitted_teacher(self, start: Start, rct: Logs, obs: Logs) -> Model:
        if self.teacher is None:
            _, *others = self._default_teachers(start.base.outcome_)
            return Stack.of([start.base, *(model.fit(rct, obs) for model in others)])
        if not self.teacher.menu_in_currency:
            rule = "its menu counts treatments, and pseudo-labels need values and costs"
            raise _check.refuse("teacher", type(self.teacher).__name__, rule, "Use Boosting, MLP or DFCL.")
        teacher: Model = clone(self.teacher)
        for name, value in (("outcome", self._outcome_for(rct, obs)), ("checkpoint", self.checkpoint)):
            if value is not None and teacher.get_params(deep=False).get(name, 0) is None:
                teacher.set_params(**{name: value})
        return teacher.fit(rct, obs)

    def _default_teachers(self, outcome: Outcome | None) -> tuple[Model, ...]:
        """Returns the unfitted models that the default teacher averages, the base first."""
        options: dict[str, Any] = {"outcome": outcome, "seed": self.seed, "n_threads": self.n_threads}
        trees = Boosting(**options)
        return self.base, trees, Corrected(trees, **options), Boosting(data="rct", **options)

    def _lower_rows(self, rct: Logs, obs: Logs) -> tuple[Rows, Teacher]:
        """Returns the rows of the lower level, and the predictions of the teacher for them."""
        logs = training_rows(self.base.data, rct, obs)
        observed = torch.ones(logs.n)
        observed[: logs.n - obs.n] = 0.0
        rows = Rows.of(logs, observed=observed)
        response = self.teacher_.predict_response(logs.x)
        menu_cost = self.teacher_.menu(response).cost if response.cost is None else response.cost
        value, conversion, cost = (
            None if a is None else torch.tensor(np.asarray(a), dtype=torch.float32)
            for a in (response.value, response.conversion, menu_cost)
        )
        assert value is not None
        return replace(rows, weight=rows.weight / rows.weight.mean()), (value, conversion, cost)

    def _both_levels(self, net: ResponseNet, lower: tuple[Rows, Teacher], rct: Logs, seed: int) -> None:
        with weights_from(seed):
            bridge = Bridge(self.gates, len(self.features_), net.m)
        bridge.copy_scale(net)
        upper = trial_rows(rct, arm_weighted=self.base.arm_weighted)
        trial = Joint(net, upper, self.decision, self.alpha, self.budgets_)
        levels = Levels(net, bridge, lower, trial, self.hypergradient, seed + 1)
        rows, teacher = lower
        settings = (self.decision, self.gates, self.hypergradient, self.alpha, self.budgets_, self.schedule, seed)
        checkpoints = checkpointer(
            self.checkpoint, *rows.columns, *(a for a in teacher if a is not None), *upper.columns, *net.state_dict().values(),
            self.base.dropout, net.plain, net.outcome, settings,
        )  # fmt: skip
        train(net, levels, len(rows), self.schedule, seed, self.on_step, checkpoints, levels)
        self.bridges_.append(bridge.eval())
        self.solves_.append(levels.solves())

    def gates_of(self, x: NDArray[Any]) -> GateMap:
        """Returns the gates of units with features x (N, d), mean over the networks."""
        rows = torch.tensor(np.asarray(x), dtype=torch.float32)
        with torch.inference_mode(), threads(self.n_threads):
            each = [[bridge(rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)] for bridge in self.bridges_]
            mean = [
                torch.stack([torch.cat([getattr(part, name) for part in parts]) for parts in each]).mean(0).numpy()
                for name in GateMap._fields
            ]
        return GateMap(*mean)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        target = self.target_.predict_response(x)
        if self.shrinkage_weight == 1:
            return target
        return between(self.teacher_.predict_response(x), target, self.shrinkage_weight)

    def _state(self) -> State:
        """Returns the states of the target, of the bridges and, if it takes part in the predictions, of the teacher."""
        settings, arrays = self.target_.state()
        parts = {"target": arrays} | {f"bridge.{k}": weights_of(bridge) for k, bridge in enumerate(self.bridges_)}
        settings = {"target": settings, "budgets": list(self.budgets_)}
        if self.shrinkage_weight < 1:
            settings["teacher"], parts["teacher"] = self.teacher_.state()
        return settings, nest(**parts)

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        self.target_ = self.restored_part(self.base, settings["target"], unnest("target", arrays))
        self.budgets_ = tuple(settings["budgets"])
        if "teacher" in settings:
            teacher = Stack(self._default_teachers(None)) if self.teacher is None else self.teacher
            self.teacher_ = self.restored_part(teacher, settings["teacher"], unnest("teacher", arrays))
        self.bridges_, self.solves_ = [], []
        for k in range(len(self.target_.nets_)):
            bridge = Bridge(self.gates, len(self.features_), len(self.treatments_))
            self.bridges_.append(load_weights(bridge, unnest(f"bridge.{k}", arrays)))
