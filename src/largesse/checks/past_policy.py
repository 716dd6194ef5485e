"""Checks of past campaign data: overlap (could every unit get every treatment?) and bias against the trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from largesse import _check
from largesse._arguments import checked
from largesse._workers import Workers
from largesse.checks.finding import P_WARN, Finding, Floats, Grade, arm_means, grade, over, sample
from largesse.logs import Logs
from largesse.menu import Menu
from largesse.result import Result

__all__ = ["FEWEST_ROWS", "MenuBias", "OutcomeBias", "Overlap", "menu_bias", "outcome_bias", "overlap"]

RARE = 0.01  # a treatment less likely than this counts as impossible for the unit
FEWEST_ROWS = 20  # per arm, to fit propensities


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Overlap(Finding):
    """Whether units of every kind could have got every treatment.

    Attributes:
        auc: AUC of predicting each arm against the others from the features, mean over arms: 0.5 random, 1 fully determined.
        pseudo_r2: Share of the treatment's log-loss that the features explain; 0 or less as if random.
        rare_share: Share of rows for which some arm has a fitted probability below 0.01.
        ess: Effective sample size of each arm after weighting by inverse fitted probability, float64 (M,).
        ess_share: The same as a share of the arm's rows, in (0, 1].
        z_known: By arm, Σ 1/p of the propensities given per row less the number of rows, in standard errors; float64 (M,),
            about standard normal where the propensities are right; NaN where none were given per row.
        p_known: p-value of the largest of them, NaN where none were given.
    """

    auc: float
    pseudo_r2: float
    rare_share: float
    ess: Floats
    ess_share: Floats
    z_known: Floats
    p_known: float


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class OutcomeBias(Finding):
    """Arm means of the observational rows less those of the trial, without adjustment.

    Attributes:
        value: Difference of mean value, float64 (M,).
        value_standard_error: Its standard error.
        value_z: Difference / error; infinite where both logs are constant and differ.
        cost: Difference of mean cost, float64 (M,).
        cost_standard_error: Its standard error.
        cost_z: Difference / error.
        p_value: p-value of the largest of the 2M statistics (Bonferroni).
    """

    value: Floats
    value_standard_error: Floats
    value_z: Floats
    cost: Floats
    cost_standard_error: Floats
    cost_z: Floats
    p_value: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MenuBias(Result):
    """Mean bias of a menu by arm: positive where it predicts too much, NaN for an arm without rows.

    Attributes:
        value: Mean over the units of the trial of the menu's value less the true one, float64 (M,).
        value_standard_error: Its standard error.
        cost: The same of the cost.
        cost_standard_error: Its standard error.
    """

    value: Floats
    value_standard_error: Floats
    cost: Floats
    cost_standard_error: Floats


@checked
def overlap(logs: Logs, *, rows: int = 50_000, seed: int = 0) -> Overlap:
    """Fits the propensities of a past policy, and checks whether units of every kind could have got every treatment.

    Gradient-boosted trees predict the treatment from the features, cross-fitted in two halves. Propensities given per row
    are tested too: over the rows of any arm, Σ 1/p must be about the number of all rows.

    Args:
        logs: Observational rows.
        rows: Size of the random sample for the fit; the test of given propensities uses all rows.
        seed: Seed of that draw, of the halves and of the trees.

    Raises:
        DataError: An arm has fewer than 20 rows.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(2000, 1))
    >>> t = rng.random(2000) < 1 / (1 + np.exp(-4 * x[:, 0]))
    >>> result = overlap(Logs(x=x, treatment=t, value=np.zeros(2000), cost=np.zeros(2000), design="obs"))
    >>> result.status.value, result.auc > 0.85
    ('warn', True)
    """
    return overlap_beside(logs, Workers(1), rows=rows, seed=seed)()


def overlap_beside(logs: Logs, workers: Workers, *, rows: int = 50_000, seed: int = 0) -> Callable[[], Overlap]:
    """Returns a function that returns `overlap(logs, rows=rows, seed=seed)`; a process fits the propensities meanwhile."""
    for name, count in zip(logs.treatments, logs.arm_rows, strict=True):
        if count < FEWEST_ROWS:
            rule, remedy = f"needs at least {FEWEST_ROWS} rows to fit propensities", "Add rows, or leave the arm out."
            raise _check.refuse(f"rows of treatment {name!r}", int(count), rule, remedy)
    part = sample(logs, rows, seed)
    fitted = workers.beside(_fitted_propensities, (part, seed))

    def result() -> Overlap:
        return _overlap(logs, part, fitted())

    return result


def _overlap(logs: Logs, part: Logs, p: Floats) -> Overlap:
    """Returns the overlap of all rows, by the fitted propensities of a sample of them, (n, M)."""
    z_known = logs.propensity_excess
    p_known = float(np.minimum(1.0, logs.n_treatments * 2 * stats.norm.sf(np.abs(z_known).max())))
    w, arms = part.weights, np.eye(part.n_treatments)[part.treatment]
    auc = float(np.mean([roc_auc_score(a, q, sample_weight=w) for a, q in zip(arms.T, p.T, strict=True)]))
    share = w @ arms / w.sum()
    pseudo_r2 = 1 - float(w @ -np.log((p * arms).sum(axis=1)) / w.sum() / special.entr(share).sum())
    rare = float(w @ (p.min(axis=1) < RARE) / w.sum())
    ess = _effective(w, arms / p)
    ess_share = ess / _effective(w, arms)
    status, sentence = _overlap_verdict(auc, rare, ess_share, z_known, p_known, logs.treatments)
    return Overlap(
        name="overlap", status=status, sentence=sentence, auc=auc, pseudo_r2=pseudo_r2, rare_share=rare, ess=ess,
        ess_share=ess_share, z_known=z_known, p_known=p_known,
    )  # fmt: skip


def _effective(w: Floats, arms: Floats) -> Floats:
    """Returns the effective number of rows of each arm, (Σ a)² / Σ a² (Kish), a the row weights w times a column of `arms`."""
    return np.asarray((w @ arms) ** 2 / (w**2 @ arms**2))


@checked
def outcome_bias(rct: Logs, obs: Logs) -> OutcomeBias:
    """Compares the arm means of past campaign data with those of the trial, without adjustment for features.

    Args:
        rct: Rows of a trial.
        obs: Rows of a past policy over the same treatments, in the same units of value and cost.

    Raises:
        DataError: The logs name different treatments.

    >>> rct = Logs(x=[[0.0]] * 4, treatment=[0, 0, 1, 1], value=[0, 1, 1, 2], cost=[0, 0, 1, 2])
    >>> obs = Logs(x=[[0.0]] * 4, treatment=[0, 0, 1, 1], value=[0, 1, 5, 6], cost=[0, 0, 1, 2], design="obs")
    >>> outcome_bias(rct, obs).value.tolist()
    [0.0, 4.0]
    """
    if rct.treatments != obs.treatments:
        raise _check.refuse(
            "obs.treatments", obs.treatments, f"must equal the trial's, {rct.treatments}", "Name them alike."
        )
    gaps = [_gap(rct, obs, column) for column in ("value", "cost")]
    z = np.abs([gap[2] for gap in gaps])  # (2, M)
    p = float(min(1.0, z.size * 2 * stats.norm.sf(z.max())))
    column, arm = np.unravel_index(np.argmax(z), z.shape)
    off = (
        f"largest gap: mean {('value', 'cost')[column]} of {rct.treatments[arm]!r} is {gaps[column][0][arm]:+.3g} off "
        f"the trial's, {gaps[column][2][arm]:+.1f} standard errors"
    )
    words = {
        Grade.OK: f"Arm means of the observational rows agree with the trial's ({off}). They may be pooled.",
        Grade.WARN: f"Arm means of the observational rows are a little off the trial's ({off}). Adjust for features first.",
        Grade.FAIL: f"The past campaign data mislead, as those of a past policy usually do: {off}. Estimate no effects from them "
        "alone. `fit` corrects models of them by trial rows, and drops them where they harm.",
    }
    (value, value_standard_error, value_z), (cost, cost_standard_error, cost_z) = gaps
    status, sentence = grade(p), words[grade(p)]
    if np.isinf(z).any():
        sentence = f"Amounts that are the same for every unit differ between the two files: {off}. Check their units and columns."
    elif (
        status is Grade.FAIL
    ):  # a past policy chose whom to treat: its means are off, and the trial is sound all the same
        status = Grade.WARN
    return OutcomeBias(
        name="outcome bias", status=status, sentence=sentence, p_value=p, value=value, value_z=value_z,
        value_standard_error=value_standard_error, cost=cost, cost_standard_error=cost_standard_error, cost_z=cost_z,
    )  # fmt: skip


@checked
def menu_bias(rct: Logs, menu: Menu) -> MenuBias:
    """Returns the bias of a menu on rows of a trial that its model was not trained on: the bias that features leave.

    For a model trained on past campaign data this is the confounding that adjustment for the features did not remove. A
    bias that all arms share does not change decisions; a bias that differs between arms does.

    Args:
        rct: Rows of a trial.
        menu: A menu of those rows, in the units of the trial's value and cost.

    Raises:
        DataError: The menu has another number of rows or treatments, or the trial's propensities are unknown.

    >>> rct = Logs(x=[[0.0]] * 4, treatment=[0, 0, 1, 1], value=[0, 1, 1, 2], cost=[0, 0, 1, 2], propensity="uniform")
    >>> menu_bias(rct, Menu(value=[[0.5, 2.0]] * 4, cost=[[0.0, 1.5]] * 4)).value.tolist()
    [0.0, 0.5]
    """
    if menu.value.shape != (rct.n, rct.n_treatments):
        rule = f"must be that of the trial, {(rct.n, rct.n_treatments)}"
        raise _check.refuse("menu.value.shape", menu.value.shape, rule, "Predict the menu for these rows.")
    taken, given, columns = (np.arange(rct.n), rct.treatment), rct.arm_rows > 0, []
    arms = np.eye(rct.n_treatments)[rct.treatment] * rct.inverse_propensity[:, None]
    for table, logged in ((menu.value, rct.value), (menu.cost, rct.cost)):
        bias = table[taken] - logged
        mean = over(bias @ arms, arms.sum(0))
        standard_error = over(np.sqrt((bias - mean[rct.treatment]) ** 2 @ arms**2), arms.sum(0))
        columns += [np.where(given, mean, np.nan), np.where(given, standard_error, np.nan)]
    return MenuBias(*columns)


def _fitted_propensities(shared: tuple[Logs, int]) -> Floats:
    """Returns the cross-fitted probability of every treatment, (N, M), each >= 1e-6, from the rows and a seed."""
    logs, seed = shared
    out = np.empty((logs.n, logs.n_treatments))
    for half, (learn, hold) in enumerate(_halves(logs, seed)):
        trees = HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.15, max_leaf_nodes=15, min_samples_leaf=20, l2_regularization=1.0,
            early_stopping=bool(logs.arm_rows.min() >= 10 * FEWEST_ROWS), n_iter_no_change=3, random_state=seed + half,
        )  # fmt: skip
        # Weights slow its binning down: none where none were given.
        weight = None if logs.weight is None else logs.weight[learn]
        out[hold] = trees.fit(logs.x[learn], logs.treatment[learn], sample_weight=weight).predict_proba(logs.x[hold])
    return np.maximum(out, 1e-6)


def _halves(logs: Logs, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns two folds, training and held-out rows, each with half of every arm; the rows of a unit stay together."""
    if logs.groups is None:
        return list(StratifiedKFold(2, shuffle=True, random_state=seed).split(logs.x, logs.treatment))
    part = logs.parts(1, 1, seed=seed)
    return [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in (0, 1)]


def _overlap_verdict(
    auc: float, rare: float, ess_share: Floats, z: Floats, p_known: float, names: tuple[str, ...]
) -> tuple[Grade, str]:
    if p_known < P_WARN:
        arm = int(np.argmax(np.abs(z)))
        off = f"inverse propensities of {names[arm]!r} add up to {z[arm]:+.1f} standard errors from the number of rows"
        return grade(
            p_known
        ), f"The given propensities are wrong: {off}. Correct or drop them before you weight by them."
    thin = int(np.argmin(ess_share))
    summary = (
        f"AUC {auc:.2f}; {rare:.1%} of rows have almost no chance of some arm; weighting leaves {ess_share[thin]:.0%} "
        f"of the rows of {names[thin]!r}"
    )
    if rare > 0.5:  # as expected of a policy that decides by rules: what the trial says is not the less sound for it
        return (
            Grade.WARN,
            f"The past policy left most units without alternatives ({summary}). Estimate effects from trial rows.",
        )
    if rare > 0.05 or ess_share[thin] < 0.2 or auc > 0.9:
        return (
            Grade.WARN,
            f"The past policy chose by these features ({summary}). Do not weight by propensity alone; rely on the trial.",
        )
    return Grade.OK, f"Units of every kind got every treatment ({summary}). Nothing to do."


def _gap(rct: Logs, obs: Logs, column: str) -> tuple[Floats, Floats, Floats]:
    """Returns the difference of arm means obs - rct, its standard error and their ratio, each (M,)."""
    (a, va), (b, vb) = (_mean_and_variance(logs, getattr(logs, column)) for logs in (rct, obs))
    standard_error, both = np.sqrt(va + vb), (rct.arm_rows > 0) & (obs.arm_rows > 0)
    rounding = 1e-12 * max(float(np.abs(getattr(logs, column)).max()) for logs in (rct, obs))
    gap = np.where(both & (np.abs(b - a) > rounding), b - a, 0.0)  # 0 for an arm without rows in one of the two
    return gap, standard_error, over(gap, standard_error)


def _mean_and_variance(logs: Logs, y: Floats) -> tuple[Floats, Floats]:
    """Returns the mean by arm and the variance of that mean, each (M,)."""
    arms = np.eye(logs.n_treatments)[logs.treatment] * logs.weights[:, None]
    rows, shift = logs.arm_rows, float(y[0])
    mean = arm_means((y - shift)[:, None], arms)[:, 0]
    total = np.maximum(arms.sum(axis=0), 1e-300)
    off = (y - shift - mean[logs.treatment])[:, None] * arms
    if logs.groups is None:
        return mean + shift, (off**2).sum(axis=0) / total**2 * rows / np.maximum(rows - 1, 1)
    each = np.column_stack([logs.by_group(column) for column in off.T])
    some = (each != 0).sum(axis=0)  # groups with rows in the arm
    return mean + shift, (each**2).sum(axis=0) / total**2 * some / np.maximum(some - 1, 1)
