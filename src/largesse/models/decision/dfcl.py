"""Decision-focused learning: a two-stage network, tuned on the trial by what its decisions are worth."""

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
from largesse.models.crossfit import of_others, others, out_of_fold
from largesse.models.decision.joint import Joint, trial_rows
from largesse.models.decision.losses import LOSSES, PPL, DecisionLoss
from largesse.models.decision.shrinkage import between, choose_shrinkage, may_shrink, target_budgets
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
    """Two-stage networks that tunings start from: of the whole trial, and of each fold's complement."""

    base: MLP
    folds: tuple[MLP, ...]


@dataclass(kw_only=True, eq=False, repr=False)
class DFCL(Model):
    """A network learned by likelihood, then by joint loss on the trial: decision loss + alpha * prediction loss.

    With ``MLP(data="rct")`` as its base this is decision-focused learning on the experiment alone; with ``MLP()``, which
    learns from the trial and the log, it is pool-then-tune.

    Args:
        base: The two-stage network; a clone of it is fitted.
        decision: Which decision loss, with its options.
        alpha: Weight of the prediction loss on the trial.
        shrinkage_weight: How far to go from the base to the tuned network, in [0, 1]; ``"cross-fit"``: chosen on rows that
            neither has seen, see `largesse.models.decision.shrinkage`.
        folds: Parts of the trial that take turns in that choice.
        outcome: Family and cost rule; None: the base's, or inferred from the rows.
        schedule: Epochs, batch, rate and averaging of the tuning.
        seed: Row orders, folds and draws.
        n_threads: Threads of the matrix products.
        on_step: Called as on_step(step, steps, loss) after each step of the tuning.
        checkpoint: Folder that keeps unfinished trainings, of the base too: the same fit, begun again after a kill, goes
            on from there.

    Attributes:
        budgets_: Target budgets, money per head.
        shrinkage_weight_: How far the menu goes towards the tuned network.
        choice_: Why, or None where the shrinkage_weight was given.

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
        """Returns the papers' objective and network: plain heads, squared errors, money spent not counted, no shrinkage.

        Prices, temperature and schedule are this library's; the papers' differ between their data sets: see `DecisionLoss`.

        Args:
            kind: ``"dpl"``, ``"difd"``, ``"ppl"`` or ``"pifd"``.
            changes: Other parameters.
        """
        given = {
            "decision": LOSSES[_check.choice("kind", kind, tuple(LOSSES))].published(),
            "shrinkage_weight": 1.0,
            **changes,
        }
        return cls(given.pop("base", MLP.published(data="rct")), **given)

    @property
    def network(self) -> MLP:
        """The base; once fitted, the network that the decision loss has moved."""
        return self.tuned_ if hasattr(self, "tuned_") else self.base

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        if not isinstance(self.base, MLP):
            raise _check.refuse("base", self.base, "must be an MLP", "For any other base there is DecisionResidual.")
        _check.number("alpha", self.alpha, low=0)
        may_shrink(self.shrinkage_weight, self.folds)
        self.learn_from(self.prepare(rct, obs), rct)

    def prepare(self, rct: Logs, obs: Logs | None = None) -> Start:
        """Returns the two-stage networks that a tuning starts from: several tunings of one base can share them."""
        outcome = self._told(rct, obs)
        turns = others(rct, self.folds, self.seed) if self.shrinkage_weight == "cross-fit" else []
        folds = tuple(self._two_stage(rct.take(seen), of_others(obs, rct.take(held)), outcome) for seen, held in turns)
        return Start(self._two_stage(rct, obs, outcome), folds)

    def _two_stage(self, rct: Logs, obs: Logs | None, outcome: Outcome) -> MLP:
        base: MLP = clone(self.base).set_params(outcome=outcome)
        if self.checkpoint is not None:
            base.set_params(checkpoint=self.checkpoint)
        return base.fit(rct, obs)

    def learn_from(self, start: Start, rct: Logs) -> Self:
        """Tunes what `prepare` gave for the same trial; returns self."""
        self.treatments_, self.features_, self.outcome_ = rct.treatments, rct.features, start.base.outcome_
        self.budgets_ = target_budgets(rct, self.decision.budgets)
        self.base_, self.tuned_ = start.base, self._tuned(start.base, rct)
        self.choice_: Choice | None = None
        if self.shrinkage_weight != "cross-fit":
            self.shrinkage_weight_ = float(self.shrinkage_weight)
            return self

        def answer(seen: NDArray[Any], held: NDArray[Any], fold: int) -> tuple[Response, Response]:
            base = start.folds[fold]
            return base.predict_response(rct.x[held]), self._tuned(base, rct.take(seen)).predict_response(rct.x[held])

        pair = out_of_fold(rct, self.folds, self.seed, answer)
        self.shrinkage_weight_, self.choice_ = choose_shrinkage(rct, pair, self.menu, self.budgets_, self.seed)
        return self

    def _tuned(self, base: MLP, rct: Logs) -> MLP:
        """Returns a copy of two-stage networks after tuning on the trial."""
        tuned, rows = copy.deepcopy(base), trial_rows(rct, arm_weighted=base.arm_weighted)
        with threads(self.n_threads):
            for k, net in enumerate(tuned.nets_):
                self._tune(net, rows, base.dropout, number(self.seed, 1, k))
        return tuned

    def _tune(self, net: ResponseNet, rows: Rows, dropout: float, seed: int) -> None:
        joint = Joint(net, rows, self.decision, self.alpha, self.budgets_)
        loss = lambda i: joint(net(rows.features[i]), i)  # noqa: E731
        how = (self.decision, self.alpha, self.budgets_, self.schedule, seed, dropout, net.outcome, net.plain)
        kept = checkpointer(self.checkpoint, *rows.columns, *joint.menu, *net.state_dict().values(), how)
        train(net, loss, len(rows), self.schedule, seed, self.on_step, kept, joint.objective)

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        trusted = self.base_.predict_response(x)
        return (
            trusted
            if self.shrinkage_weight_ == 0
            else between(trusted, self.tuned_.predict_response(x), self.shrinkage_weight_)
        )

    def state(self) -> State:
        """Returns both networks' states and the shrinkage_weight."""
        settings, arrays = self.base_.state()
        tuned, moved = self.tuned_.state()
        return {
            "settings": settings, "tuned": tuned, "shrinkage_weight": self.shrinkage_weight_, "budgets": list(self.budgets_),
        }, nest(base=arrays, tuned=moved)  # fmt: skip

    def restore(self, settings: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over a saved state."""
        base = self.restored_base(self.base, settings, arrays)
        tuned = copy.deepcopy(base)
        tuned.restore(settings["tuned"], unnest("tuned", arrays))
        self.base_, self.tuned_, self.shrinkage_weight_ = base, tuned, float(settings["shrinkage_weight"])
        self.budgets_, self.choice_ = tuple(settings["budgets"]), None
