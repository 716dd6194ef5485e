"""Decision-focused learning: a two-stage network, fine-tuned on the trial with a decision loss."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from largesse import _check
from largesse._random import number
from largesse.logs import Logs
from largesse.models.base import Model, State
from largesse.models.crossfit import of_others, out_of_fold, train_test_rows
from largesse.models.decision.joint import Joint, trial_rows
from largesse.models.decision.losses import LOSSES, PPL, DecisionLoss
from largesse.models.decision.shrinkage import between, check_shrinkage, choose_shrinkage, target_budgets
from largesse.models.nets.checkpoint import checkpointer
from largesse.models.nets.minibatch import Schedule, Step, threads, train
from largesse.models.nets.response import ResponseNet
from largesse.models.nets.rows import Rows
from largesse.models.outcome import Outcome, Response
from largesse.models.selection import Choice
from largesse.models.two_stage.mlp import MLP
from largesse.store import nest, unnest

__all__ = ["DFCL", "Start"]

TUNING = Schedule(epochs=4, batch=8192, rate=1e-3, decay=0.0, average=0.5, least=50)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Two-stage networks that fine-tuning starts from.

    Attributes:
        base: Fitted on the whole trial.
        folds: Fitted on the training rows of each fold; () without cross-fitting.
    """

    base: MLP
    folds: tuple[MLP, ...]


@dataclass(kw_only=True, eq=False, repr=False)
class DFCL(Model):
    """A network fitted by likelihood, then fine-tuned on the trial: decision loss + alpha * prediction loss.

    With the base ``MLP(data="rct")`` this is decision-focused learning on the trial alone; with ``MLP()``, which is fitted
    on the trial and the OBS log, it is pool-then-tune.

    Args:
        base: The two-stage network; a clone of it is fitted.
        decision: The decision loss.
        alpha: Weight of the prediction loss on the trial.
        shrinkage_weight: Weight of the tuned network against the base, in [0, 1]; ``"cross-fit"``: chosen by cross-fitting,
            see `largesse.models.decision.shrinkage`.
        folds: Number of folds of the cross-fitting.
        outcome: Family and cost rule; None: those of the base, or inferred from the rows.
        schedule: Epochs, batch size, learning rate and weight averaging of the tuning.
        seed: Of row orders, folds and bootstrap draws.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step of the tuning.
        checkpoint: Folder for checkpoints, of the base too: after a kill, the same fit continues from the last checkpoint.

    Attributes:
        budgets_: Target budgets per unit.
        shrinkage_weight_: Weight of the tuned network.
        choice_: The choice among shrinkage weights; None if the weight was given.

    Reference:
        Zhou et al., KDD 2024 (DFCL); the primal losses: Bi-DFCL, NeurIPS 2025.

    >>> rng = np.random.default_rng(0)
    >>> x, t = rng.normal(size=(600, 2)), rng.integers(0, 2, 600)
    >>> order = (rng.random(600) < 0.3 + 0.3 * t * (x[:, 0] > 0)).astype(float)
    >>> model = DFCL(MLP(members=1), shrinkage_weight=0.5).fit(Logs(x=x, treatment=t, value=order, cost=2.0 * t * order))
    >>> model.shrinkage_weight_, model.predict(x).cost[:, 0].max().item()
    (0.5, 0.0)
    """

    base: MLP = field(kw_only=False)
    decision: DecisionLoss = PPL()
    alpha: float = 0.1
    shrinkage_weight: float | Literal["cross-fit"] = "cross-fit"
    folds: int = 2
    outcome: Outcome | None = None
    schedule: Schedule = TUNING
    seed: int = 0
    n_threads: int = 1
    on_step: Step | None = None
    checkpoint: str | None = None

    @classmethod
    def published(cls, kind: str = "dpl", **changes: Any) -> Self:
        """Returns the loss and network of the papers: unconstrained heads, squared errors, no shrinkage.

        Prices, temperature and schedule are defaults of this library; those of the papers differ between data sets.

        Args:
            kind: ``"dpl"``, ``"difd"``, ``"ppl"`` or ``"pifd"``.
            changes: Other parameters.
        """
        decision = LOSSES[_check.choice("kind", kind, tuple(LOSSES))].published()
        options = {"decision": decision, "shrinkage_weight": 1.0, **changes}
        return cls(options.pop("base", MLP.published(data="rct")), **options)

    @property
    def network(self) -> MLP:
        """The base; in a fitted model, the tuned network."""
        return self.tuned_ if hasattr(self, "tuned_") else self.base

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        if not isinstance(self.base, MLP):
            raise _check.refuse("base", self.base, "must be an MLP", "For any other base use DecisionResidual.")
        _check.number("alpha", self.alpha, low=0)
        check_shrinkage(self.shrinkage_weight, self.folds)
        self.learn_from(self.prepare(rct, obs), rct)

    def prepare(self, rct: Logs, obs: Logs | None = None) -> Start:
        """Returns the two-stage networks that fine-tuning starts from; models with the same base can share them."""
        outcome = self._outcome_for(rct, obs)
        splits = train_test_rows(rct, self.folds, self.seed) if self.shrinkage_weight == "cross-fit" else []
        folds = tuple(self._two_stage(rct.take(i), of_others(obs, rct.take(test)), outcome) for i, test in splits)
        return Start(self._two_stage(rct, obs, outcome), folds)

    def _two_stage(self, rct: Logs, obs: Logs | None, outcome: Outcome) -> MLP:
        base: MLP = clone(self.base).set_params(outcome=outcome)
        if self.checkpoint is not None:
            base.set_params(checkpoint=self.checkpoint)
        return base.fit(rct, obs)

    def learn_from(self, start: Start, rct: Logs) -> Self:
        """Fine-tunes the networks that `prepare` returned for the same trial; returns self."""
        self.treatments_, self.features_, self.outcome_ = rct.treatments, rct.features, start.base.outcome_
        self.budgets_ = target_budgets(rct, self.decision.budgets)
        self.base_, self.tuned_ = start.base, self._tuned(start.base, rct)
        self.choice_: Choice | None = None
        if self.shrinkage_weight != "cross-fit":
            self.shrinkage_weight_ = float(self.shrinkage_weight)
            return self

        def predict(train: NDArray[Any], test: NDArray[Any], fold: int) -> tuple[Response, Response]:
            base = start.folds[fold]
            return base.predict_response(rct.x[test]), self._tuned(base, rct.take(train)).predict_response(rct.x[test])

        pair = out_of_fold(rct, self.folds, self.seed, predict)
        self.shrinkage_weight_, self.choice_ = choose_shrinkage(rct, pair, self.menu, self.budgets_, self.seed)
        return self

    def _tuned(self, base: MLP, rct: Logs) -> MLP:
        """Returns a copy of two-stage networks, fine-tuned on the trial."""
        tuned, rows = copy.deepcopy(base), trial_rows(rct, arm_weighted=base.arm_weighted)
        with threads(self.n_threads):
            for k, net in enumerate(tuned.nets_):
                self._tune(net, rows, base.dropout, number(self.seed, 1, k))
        return tuned

    def _tune(self, net: ResponseNet, rows: Rows, dropout: float, seed: int) -> None:
        joint = Joint(net, rows, self.decision, self.alpha, self.budgets_)
        loss = lambda i: joint(net(rows.features[i]), i)  # noqa: E731
        settings = (self.decision, self.alpha, self.budgets_, self.schedule, seed, dropout, net.outcome, net.plain)
        checkpoints = checkpointer(self.checkpoint, *rows.columns, *joint.menu, *net.state_dict().values(), settings)
        train(net, loss, len(rows), self.schedule, seed, self.on_step, checkpoints, joint.objective)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        base = self.base_.predict_response(x)
        if self.shrinkage_weight_ == 0:
            return base
        return between(base, self.tuned_.predict_response(x), self.shrinkage_weight_)

    def _state(self) -> State:
        """Returns the states of both networks, the shrinkage weight and the budgets."""
        settings, arrays = self.base_.state()
        tuned, tuned_arrays = self.tuned_.state()
        return {
            "settings": settings, "tuned": tuned, "shrinkage_weight": self.shrinkage_weight_, "budgets": list(self.budgets_),
        }, nest(base=arrays, tuned=tuned_arrays)  # fmt: skip

    def _restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Sets a saved state."""
        base = self.restored_base(self.base, settings, arrays)
        tuned = copy.deepcopy(base)
        tuned.restore(settings["tuned"], unnest("tuned", arrays))
        self.base_, self.tuned_, self.shrinkage_weight_ = base, tuned, float(settings["shrinkage_weight"])
        self.budgets_, self.choice_ = tuple(settings["budgets"]), None
