"""What is compared: methods by label, and the tables they stand in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from benchmarks.suite.problems import MAIN, REAL, SHARES
from largesse.checks.trial_power import power
from largesse.commands.procedure import FittedCandidates, Task, budgets_of, fit_candidates
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.models.baselines.balanced import CFR, DragonNet
from largesse.models.baselines.debiased import LTD, AutoDebias
from largesse.models.baselines.distilled import CausE, KDFeature, KDLabel
from largesse.models.baselines.weighted import DRJT, IPS
from largesse.models.bilevel.bidfcl import BiDFCL
from largesse.models.bilevel.bridge import Gates
from largesse.models.bilevel.levels import Hypergradient
from largesse.models.decision.dfcl import DFCL, Start
from largesse.models.decision.losses import PPL
from largesse.models.factors.dhcl import DPM, DRP
from largesse.models.nets.hypergradient import Solver
from largesse.models.outcome import Outcome
from largesse.models.registry import AUTO, Settings, default_names
from largesse.models.two_stage.corrected import Corrected
from largesse.models.two_stage.lightgbm import Boosting
from largesse.models.two_stage.mlp import MLP
from largesse.models.two_stage.stack import Stack, cautious_weights

__all__ = ["METHODS", "STUDIES", "Bench", "Method", "Study", "needed"]


@dataclass(frozen=True, eq=False)
class Bench:
    """What a method is made with.

    Attributes:
        seed: Starts and row orders.
        outcome: Family and cost rule, of the methods that use them.
        rct: The trial.
        obs: The log.
    """

    seed: int
    outcome: Outcome
    rct: Logs
    obs: Logs

    @cached_property
    def parts(self) -> tuple[Logs, Logs]:
        """Four fifths of the trial, which our forms learn from, and the fifth that weighs them, as `fit` does."""
        seen, held = self.rct.split(_SEEN, 1 - _SEEN, seed=self.seed)
        return seen, held

    @cached_property
    def learned(self) -> FittedCandidates:
        """What `fit` learns and chooses with its default candidates, at the budgets of the tables."""
        shares = tuple(SHARES[k] for k in MAIN)
        budgets = budgets_of(self.rct, shares, ())
        names = default_names(True, power(self.rct, budgets).advice == "can pay")
        task = Task(names, Settings(self.outcome, seed=self.seed, budgets=budgets), budgets, tuple(map(str, shares)))
        return fit_candidates(self.rct, self.obs, task, lambda stage, done: None)


@dataclass(frozen=True, slots=True)
class Method:
    """What makes a method.

    Attributes:
        make: Called as make(bench, *fitted models of the labels in `of`); returns a model, fitted or to be fitted.
        of: Labels of the methods that it begins with: they are fitted once for all that do.
    """

    make: Callable[..., Model]
    of: tuple[str, ...] = ()


TSM_RCT, TSM_OBS, TSM_BOTH = "TSM-SL, RCT", "TSM-SL, OBS", "TSM-SL, RCT + OBS"
LIKELIHOOD, LIGHTGBM, STACK = "likelihood networks, RCT + OBS", "LightGBM S, RCT + OBS", "mean of four"
CORRECTED, LIGHTGBM_RCT = "LightGBM on OBS, corrected on RCT", "LightGBM S, RCT"
TUNED, BI = "pool-then-tune, likelihood networks", "Bi-DFCL, taught by the mean of four"
BI_FIXED = "Bi-DFCL, taught by the mean of four, gates fixed at ½"
BI_FOCUSED = "Bi-DFCL, likelihood networks, decision-focused teacher, then tuned"
BI_SERVED = "Bi-DFCL, served with the mean of four"
SHUT = "likelihood networks, the epochs of Bi-DFCL without a bridge"
WEIGHED, RECOMMENDED = "the four, weighed on held-back rows", "Bi-DFCL and the four, weighed on held-back rows"
_MEMBERS, _SEEN = 2, 0.8

POOLED_TUNED = "pool-then-tune, published network"


def _network(b: Bench, data: str) -> MLP:
    return MLP.published(data=data, seed=b.seed)


def _likelihood(b: Bench) -> MLP:
    return MLP(members=_MEMBERS, outcome=b.outcome, seed=b.seed)


def _published(kind: str) -> Method:
    """DFCL as published, from the two stages of the trial."""
    return Method(
        lambda b, base: DFCL.published(kind, base=_network(b, "rct"), seed=b.seed).learn_from(Start(base, ()), b.rct),
        (TSM_RCT,),
    )


def _bilevel(kind: str, data: str = "obs", **how: Any) -> Method:
    """Bi-DFCL as published, from the two stages of the log (or of both), taught by those of the trial."""

    def make(b: Bench, base: MLP, teacher: Model) -> Model:
        model = BiDFCL.published(kind, base=_network(b, data), teacher=_network(b, "rct"), seed=b.seed, **how)
        return model.learn_from(Start(base, ()), b.rct, b.obs, teacher)

    return Method(make, (TSM_OBS if data == "obs" else TSM_BOTH, TSM_RCT))


def _rows(b: Bench, of: str) -> Logs:
    """Returns the trial rows that a method learns from: as many as the network that it begins with."""
    return b.rct if of == TSM_BOTH else b.parts[0]


def _tuned(net: Callable[[Bench], MLP], of: str) -> Method:
    return Method(
        lambda b, base: DFCL(net(b), shrinkage_weight=1.0, seed=b.seed).learn_from(Start(base, ()), _rows(b, of)), (of,)
    )


def _ours(net: Callable[[Bench], MLP], of: tuple[str, str], **how: Any) -> Method:
    """Bi-DFCL in our form, from a network and a teacher."""

    def make(b: Bench, base: MLP, teacher: Model) -> Model:
        return BiDFCL(net(b), seed=b.seed, **how).learn_from(Start(base, ()), _rows(b, of[0]), b.obs, teacher)

    return Method(make, of)


def _seen(model: Callable[[Bench], Model]) -> Method:
    """A model of the log and of the rows of the trial that are not held back."""
    return Method(lambda b: model(b).fit(b.parts[0], b.obs))


def _weighed(*of: str) -> Method:
    def make(b: Bench, *models: Model) -> Model:
        held = b.parts[1]
        return Stack.of(models, weights=cautious_weights(held, [model.predict_response(held.x) for model in models]))

    return Method(make, of)


def _solved(every: int, iterations: int) -> Method:
    return _bilevel("ppl", hypergradient=Hypergradient(every=every, solver=Solver(iterations=iterations, warm=False)))


def _pooled(b: Bench) -> MLP:
    return _network(b, "both")


_EXPLICIT = Hypergradient(form="explicit")
_PAPER = {
    TSM_RCT: Method(lambda b: _network(b, "rct")),
    "DHCL, RCT": Method(lambda b: (DRP if b.rct.n_treatments == 2 else DPM)(members=1, seed=b.seed)),
    "DFCL-DPL, RCT": _published("dpl"),
    "DFCL-DIFD, RCT": _published("difd"),
    "DFCL-PPL, RCT": _published("ppl"),
    "DFCL-PIFD, RCT": _published("pifd"),
    TSM_OBS: Method(lambda b: _network(b, "obs")),
    "IPS, OBS": Method(lambda b: IPS(seed=b.seed)),
    "DR-JT, OBS": Method(lambda b: DRJT(seed=b.seed)),
    "CFR-WASS, OBS": Method(lambda b: CFR(distance="wasserstein", seed=b.seed)),
    "CFR-MMD, OBS": Method(lambda b: CFR(distance="mmd", seed=b.seed)),
    "DragonNet, OBS": Method(lambda b: DragonNet(seed=b.seed)),
    TSM_BOTH: Method(_pooled),
    "CausE": Method(lambda b: CausE(seed=b.seed)),
    "KD-Label": Method(lambda b: KDLabel(seed=b.seed)),
    "KD-Feature": Method(lambda b: KDFeature(seed=b.seed)),
    "LTD-IPS": Method(lambda b: LTD(loss="ips", seed=b.seed)),
    "LTD-DR": Method(lambda b: LTD(loss="dr", seed=b.seed)),
    "AutoDebias": Method(lambda b: AutoDebias(seed=b.seed)),
    "Bi-DFCL-PPL": _bilevel("ppl"),
    "Bi-DFCL-PIFD": _bilevel("pifd"),
}
_FOUR = (LIKELIHOOD, LIGHTGBM, CORRECTED, LIGHTGBM_RCT)
_OURS = {
    POOLED_TUNED: _tuned(_pooled, TSM_BOTH),
    "Bi-DFCL, published network, decision-focused teacher, then tuned": _ours(
        _pooled, (TSM_BOTH, POOLED_TUNED), tune=True
    ),
    LIKELIHOOD: _seen(_likelihood),
    SHUT: _ours(_likelihood, (LIKELIHOOD, LIKELIHOOD), gates=Gates(by="fixed", start=1e-6)),
    TUNED: _tuned(_likelihood, LIKELIHOOD),
    LIGHTGBM: _seen(lambda b: Boosting(outcome=b.outcome, seed=b.seed)),
    LIGHTGBM_RCT: _seen(lambda b: Boosting(outcome=b.outcome, data="rct", seed=b.seed)),
    CORRECTED: _seen(lambda b: Corrected(Boosting(outcome=b.outcome, seed=b.seed), outcome=b.outcome, seed=b.seed)),
    STACK: Method(lambda b, *models: Stack.of(models), _FOUR),
    WEIGHED: _weighed(*_FOUR),
    BI: _ours(_likelihood, (LIKELIHOOD, STACK)),
    BI_FIXED: _ours(_likelihood, (LIKELIHOOD, STACK), gates=Gates(by="fixed")),
    BI_FOCUSED: _ours(_likelihood, (LIKELIHOOD, TUNED), tune=True),
    BI_SERVED: Method(lambda b, bi: Stack.of((bi.teacher_, bi.target_)), (BI,)),
    RECOMMENDED: _weighed(BI, *_FOUR),
}
_ABLATION = {
    # The bridge weighs the log's own outcomes only: its other gates begin shut, and stay there.
    "+ bi-level, weights of logged outcomes, explicit": _bilevel(
        "ppl", gates=Gates(hidden=(128, 64, 32), start=1e-6, factual=True), hypergradient=_EXPLICIT
    ),
    "+ pseudo-labels, explicit": _bilevel("ppl", hypergradient=_EXPLICIT),
    "budget-aware upper loss": _bilevel("ppl", decision=PPL()),
}
_SOLVER = {f"k = {k}, {n} steps": _solved(k, n) for k, n in ((1, 10), (5, 10), (5, 50), (10, 10), (10, 50))}
_LOWER = "Bi-DFCL-PPL, lower level on RCT + OBS"
_CAUSES = {
    "Bi-DFCL-PPL, gates shut: the same epochs, no teacher": _bilevel("ppl", gates=Gates(by="fixed", start=1e-6)),
    _LOWER: _bilevel("ppl", "both"),
    f"{_LOWER}, gates fixed at .95": _bilevel("ppl", "both", gates=Gates(by="fixed", start=0.95)),
}
CHOSEN = "the choice of `fit`"


def _candidate(name: str) -> Method:
    return Method(lambda b, chosen: b.learned.models[name], (CHOSEN,))


_PORTFOLIO = {CHOSEN: Method(lambda b: b.learned.model)} | {
    f"its candidate {name}": _candidate(name) for name in AUTO[True]
}
METHODS: dict[str, Method] = _PAPER | _OURS | _PORTFOLIO | _ABLATION | _SOLVER | _CAUSES
"""Every method: its label, and what makes it."""


def needed(label: str) -> frozenset[str]:
    """Returns the labels of all that has to be fitted for a method, itself included."""
    return frozenset({label}).union(*(needed(part) for part in METHODS[label].of))


@dataclass(frozen=True, slots=True)
class Study:
    """A table.

    Attributes:
        title: Its heading.
        about: What it shows, in a sentence or two.
        methods: Labels, in order.
        base: The label that the others are compared with.
        by_budget: Whether the table has a column for each budget.
        timed: Whether it is about the seconds of learning.
        scales: Whose cells stand on its page, in order.
        worlds: The same.
    """

    title: str
    about: str
    methods: tuple[str, ...]
    base: str
    by_budget: bool = False
    timed: bool = False
    scales: tuple[str, ...] = ("tiny", "small", "main", "published", "log")
    worlds: tuple[str, ...] = ("discount", "money_off", "criteo_twin", *REAL)


_ALL = tuple(_PAPER | _OURS)
_MAIN = Study(
    "Logs and trials: every method",
    "The methods of the Bi-DFCL paper's table, in the paper's form (its network, squared errors, money spent not counted), then "
    "ours.\nAfter a look at eight worlds of the CRITEO twin with 200,000 trial rows, eight more were added for our forms.",
    _ALL,
    TSM_BOTH,
)
STUDIES: dict[str, Study] = {
    "bidfcl": _MAIN,
    "bidfcl-ours": replace(
        _MAIN,
        title="Logs and trials: what a user would choose among",
        about="Our forms, and LightGBM. Likelihood networks, LightGBM and what is made of them learn from the log and four\n"
        "fifths of the trial, as in `fit`; the last fifth weighs the two forms that say so, the others leave it. Two networks\n"
        "of 5 and 10 epochs, with and without a bridge; the published network has 5. LightGBM grows until rows held back stop\n"
        "gaining. After a look at eight worlds of the CRITEO twin with 200,000 trial rows, eight more were added.",
        methods=(TSM_BOTH, *_OURS),
        base=RECOMMENDED,
    ),
    "bidfcl-budgets": replace(
        _MAIN, title="Logs and trials: ten budgets", about="The same cells, budget by budget.", by_budget=True
    ),
    "bidfcl-time": replace(
        _MAIN,
        title="Logs and trials: seconds of learning",
        about="The same cells: seconds of one core to learn each, in one process of its own; other processes share the machine.",
        timed=True,
    ),
    "portfolio": Study(
        "The choice of `fit` against its candidates",
        "Every candidate as `fit` learns it, on four fifths of the trial and the log; the choice is made on the last fifth, "
        "before any look at the truth.",
        tuple(_PORTFOLIO),
        CHOSEN,
    ),
    "bidfcl-ablation": Study(
        "Bi-DFCL: what each part adds",
        "In the paper's form: two stages; a decision loss; a bridge that weighs logged outcomes; pseudo-labels; the implicit "
        "hypergradient. Then the upper loss that counts the money spent.",
        (TSM_RCT, "DFCL-PPL, RCT", *tuple(_ABLATION)[:2], "Bi-DFCL-PPL", "budget-aware upper loss"),
        TSM_RCT,
    ),
    "bidfcl-sizes": Study(
        "Bi-DFCL: rows of the trial and of the log, and confounding",
        "The paper's form as the trial grows, the log grows, or what is not recorded moves the past policy more; and what its\n"
        "lower level sees: the log alone, as published, or the trial too. The confounded world has four times the confounding.",
        (TSM_RCT, TSM_OBS, TSM_BOTH, POOLED_TUNED, "Bi-DFCL-PPL", *_CAUSES),
        TSM_BOTH,
        scales=("tiny", "small", "more_obs", "more_rct", "main"),
        worlds=("discount", "discount_confounded"),
    ),
    "bidfcl-solver": Study(
        "Bi-DFCL: how often, and how exactly, the gates are moved",
        "A step of the gates every k batches of the log, with so many conjugate gradient steps; the paper's form.",
        tuple(_SOLVER),
        "k = 5, 50 steps",
    ),
}
"""Every study by name."""
