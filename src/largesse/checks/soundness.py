"""All checks of the rows at once.

Every check returns a frozen `Finding`: numbers, a status and a sentence with the next step. With p-values the status is
``"fail"`` below 0.001, ``"warn"`` below 0.01, and ``"ok"`` otherwise. Row weights are sampling weights: a row of weight
2 stands for two units of the population, but one was observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse._arguments import checked
from largesse._check import Numbers, written
from largesse._workers import Workers
from largesse.checks.finding import P_FAIL, Finding, Grade
from largesse.checks.past_policy import (
    FEWEST_ROWS,
    MenuBias,
    OutcomeBias,
    Overlap,
    menu_bias,
    outcome_bias,
    overlap,
    overlap_beside,
)
from largesse.checks.propensities import propensities
from largesse.checks.randomisation import Balance, Imbalance, SampleRatio, balance, sample_ratio
from largesse.checks.trial_power import PROOF, Power, power
from largesse.logs import Logs
from largesse.result import Tabular

__all__ = ["Balance", "Finding", "Grade", "Imbalance", "MenuBias", "OutcomeBias", "Overlap", "Power", "SampleRatio", "Soundness",
           "balance", "check", "menu_bias", "outcome_bias", "overlap", "power", "sample_ratio"]  # fmt: skip


_FEW_CLUSTERS = 40  # in an arm; a choice: intervals of so few rest on too few independent draws
_ENOUGH, _LATE, _LOW = 500, 4.0, 0.75  # rows; standard errors below the older rows, and share of their mean
_AGAIN = 0.2  # share of the units with rows in a further arm from which they were assigned anew, not mixed up


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Soundness(Tabular):
    """The checks of a trial and, if given, of past campaign data.

    Attributes:
        findings: One entry per check, in order; the five large checks have result classes of their own.
    """

    findings: tuple[Finding, ...]

    def _columns(self) -> dict[str, list[Any]]:
        return {name: [f.row[name] for f in self.findings] for name in ("name", "status", "sentence")}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding {name!r}; there are: {', '.join(f.name for f in self.findings)}")

    @property
    def power(self) -> Power:
        """The power of the trial.

        Raises:
            KeyError: Its propensities are unknown.
        """
        trial = self["power"]
        assert isinstance(trial, Power)
        return trial

    @property
    def status(self) -> Grade:
        """The worst status among the findings."""
        return Grade.worst(f.status for f in self.findings)

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return self.status is not Grade.FAIL

    @property
    def sentence(self) -> str:
        """Whether the rows can be used, and which checks to look at, in one sentence."""
        names = {s: ", ".join(f.name for f in self.findings if f.status is s) for s in Grade}
        if not self.ok:
            return f"Do not rely on these rows yet. Explain first: {names[Grade.FAIL]}."
        if self.status is Grade.WARN:
            return f"These rows can be used with care. Look at: {names[Grade.WARN]}."
        untested = f" Not tested: {names[Grade.UNTESTED]}." if names[Grade.UNTESTED] else ""
        return f"These rows look sound. Go on.{untested}"


@checked
def check(
    rct: Logs, obs: Logs | None = None, *, budgets: Numbers | None = None, proof_share: float = PROOF,
    workers: Workers | None = None,
) -> Soundness:  # fmt: skip
    """Returns all checks of a trial and, if there is one, of the past campaign data.

    Args:
        rct: Rows of a trial.
        obs: Rows of a past policy over the same treatments, optional.
        budgets: Budgets per unit at which the power of the trial is computed; see `power`.
        proof_share: Held-out rows, as a share of the trial's.
        workers: Processes that share the work with this one; None: there are none.

    Raises:
        DataError: The logs name different treatments, or the budgets or the share break a rule.

    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(4000) % 2
    >>> logs = Logs(x=rng.normal(size=(4000, 3)), treatment=t, value=t + rng.random(4000), cost=t, propensity="uniform")
    >>> check(logs).sentence
    'These rows look sound. Go on.'
    """
    fitted = None
    if obs is not None and obs.arm_rows.min() >= FEWEST_ROWS:
        fitted = overlap_beside(obs, workers or Workers(1))  # most of the time of all checks
    features = balance(rct)
    assigned = propensities(rct) or sample_ratio(rct)
    findings = [
        assigned, features, _post_treatment(features), _arm_sizes(rct), _responses(rct), _heavy_tail(rct),
        *_repeats(rct, "repeated units"), *_few_clusters(rct), *_timing(rct), *_young(rct),
    ]  # fmt: skip
    if rct.propensity is not None and (assigned.ok or rct.design == "rct"):
        findings.append(power(rct, budgets, proof_share))
    if obs is not None:
        findings += [outcome_bias(rct, obs), _no_overlap(obs) if fitted is None else fitted()]
        findings.extend(_repeats(obs, "repeated units in the observational log"))
    return Soundness(findings=tuple(findings))


def _post_treatment(features: Balance) -> Finding:
    determined = [w for w in features.worst if abs(w.smd) > 1 and w.p_value < P_FAIL]
    words = "No feature is determined by the arm. Nothing to do."
    if determined:
        top = determined[0]
        words = (
            f"{', '.join(repr(w.feature) for w in determined)} looks post-treatment: it determines the arm ({top.smd:+.1f} "
            f"standard deviations in {top.treatment!r}). Drop what was recorded after assignment."
        )
    return Finding(name="post-treatment features", status=Grade.FAIL if determined else Grade.OK, sentence=words)


def _arm_sizes(logs: Logs) -> Finding:
    arm = int(np.argmin(logs.arm_rows))
    rows = int(logs.arm_rows[arm])
    status = Grade.FAIL if rows < 100 else Grade.WARN if rows < 1000 else Grade.OK
    advice = {
        Grade.OK: "Nothing to do.",
        Grade.WARN: "Its effects will be imprecise; collect more rows or merge it with a similar arm.",
        Grade.FAIL: "That is too few to fit or evaluate anything; leave it out or collect more rows.",
    }[status]
    return Finding(
        name="arm sizes",
        status=status,
        sentence=f"The smallest arm, {logs.treatments[arm]!r}, has {rows:,} rows. {advice}",
    )


def _responses(logs: Logs) -> Finding:
    """Rows with a value other than 0, by arm."""
    some = np.bincount(logs.treatment[logs.value != 0], minlength=logs.n_treatments)
    arm = int(np.argmin(some))
    rates = some / logs.arm_rows
    shares = f"Between {rates.min():.2%} and {rates.max():.2%} of an arm's rows have a value"
    if some[arm] < 100:
        few = f"{shares}, and {logs.treatments[arm]!r} has only {some[arm]} such rows."
        words = f"{few} Use an outcome that occurs more often, or more rows."
        return Finding(name="outcome rates", status=Grade.WARN, sentence=words)
    return Finding(name="outcome rates", status=Grade.OK, sentence=f"{shares}. Nothing to do.")


def _heavy_tail(logs: Logs) -> Finding:
    size = np.abs(logs.value)
    top = max(1, logs.n // 1000)
    total = float(size.sum())
    share = float(np.partition(size, logs.n - top)[logs.n - top :].sum()) / total if total > 0 else 0.0
    words = f"The top 0.1 % of rows make up {share:.0%} of the total value. "
    heavy = share > 0.2 and logs.n >= 1000
    advice = "Means will be noisy: use a revenue outcome family, and read intervals, not point estimates."
    return Finding(
        name="heavy tail",
        status=Grade.WARN if heavy else Grade.OK,
        sentence=words + (advice if heavy else "Nothing to do."),
    )


def _few_clusters(logs: Logs) -> list[Finding]:
    if logs.groups is None:
        return []
    by_arm = [len(np.unique(logs.groups[logs.treatment == j])) for j in range(logs.n_treatments)]
    arm = int(np.argmin(by_arm))
    what = "units" if logs.cluster is None else "clusters"
    if by_arm[arm] < _FEW_CLUSTERS:
        words = (
            f"{logs.treatments[arm]!r} has only {by_arm[arm]} {what}, and rows of one are alike. Intervals from so few can be "
            "too narrow: collect more."
        )
        return [Finding(name="number of clusters", status=Grade.WARN, sentence=words)]
    words = f"Every arm has {by_arm[arm]:,} {what} or more. Nothing to do."
    return [Finding(name="number of clusters", status=Grade.OK, sentence=words)] if logs.cluster is not None else []


def _repeats(logs: Logs, name: str) -> list[Finding]:
    if logs.unit is None:
        return []
    kinds, place = np.unique(logs.unit, return_inverse=True)
    extra = logs.n - len(kinds)
    arms = len(np.unique(place.astype(np.int64) * logs.n_treatments + logs.treatment)) - len(kinds)
    if arms and logs.design == "rct":
        if arms > _AGAIN * len(kinds) and logs.timestamp is not None:
            words = (
                f"Many units are in several arms, as if assigned anew from time to time ({extra:,} rows repeat a unit). "
                "What a unit got before may change what it does now (carry-over), so effects can be far from those of giving the "
                "same treatment all the time. Keep the first assignment of each unit, or run a trial that never changes it."
            )
            return [Finding(name=name, status=Grade.WARN, sentence=words)]
        words = f"Some units are in several arms ({arms:,} times). Keep the first assignment of each, or drop them."
        return [Finding(name=name, status=Grade.FAIL, sentence=words)]
    if extra:
        words = (
            f"{extra:,} rows repeat a unit. Splits, intervals and checks keep the rows of a unit together, as they must. "
            "Values and budgets are per row: if a row is a week, per unit and week."
        )
        return [Finding(name=name, status=Grade.OK, sentence=words)]
    return [Finding(name=name, status=Grade.OK, sentence="Each unit appears once. Nothing to do.")]


def _timing(logs: Logs) -> list[Finding]:
    if logs.timestamp is None or logs.timestamp.dtype.kind not in "iufM":
        return []
    known = logs.timestamp == logs.timestamp  # not NaN, not NaT
    times = [logs.timestamp[known & (logs.treatment == j)] for j in range(logs.n_treatments)]
    if not all(map(len, times)):
        return []
    common = np.array([min(_within(arm, times[0]), _within(times[0], arm)) for arm in times])
    arm = int(np.argmin(common))
    if common[arm] < 0.5:
        words = (
            f"{logs.treatments[arm]!r} and control ran at different times: only {common[arm]:.0%} of rows fall in the "
            "time of both. Keep the common period, or differences over time will pass for effects."
        )
        return [Finding(name="timing of arms", status=Grade.WARN, sentence=words)]
    return [Finding(name="timing of arms", status=Grade.OK, sentence="All arms ran at the same time. Nothing to do.")]


def _young(logs: Logs) -> list[Finding]:
    """Whether the outcomes of the newest rows have arrived: by arm, the newest tenth of the rows against the older ones."""
    if logs.timestamp is None or logs.timestamp.dtype.kind not in "iufM" or logs.n < _ENOUGH:
        return []
    known = np.flatnonzero(logs.timestamp == logs.timestamp)
    order = known[np.argsort(logs.timestamp[known], kind="stable")]
    if len(order) < _ENOUGH or logs.timestamp[order[0]] == logs.timestamp[order[-1]]:
        return []
    at = logs.timestamp[order[int(0.9 * len(order))]]
    young = np.zeros(logs.n, np.bool_)
    young[known] = logs.timestamp[known] >= at
    if not 0 < young.sum() < 0.5 * logs.n:
        return []
    for j in range(logs.n_treatments):
        new, old = (logs.value[(logs.treatment == j) & (young == part)] for part in (True, False))
        if min(len(new), len(old)) < 50 or not old.mean() > 0:
            continue
        z = (new.mean() - old.mean()) / max(float(np.sqrt(new.var() / len(new) + old.var() / len(old))), 1e-300)
        if z < -_LATE and new.mean() < _LOW * old.mean():
            newest, older = (written(float(part.mean()), 3) for part in (new, old))
            words = (
                f"The newest tenth of the rows brought {newest} per row in {logs.treatments[j]!r}, the older ones {older}: it "
                "seems that not all outcomes of the newest rows have arrived. Leave out rows younger than an outcome takes, or a "
                "treatment that only speeds outcomes up will pass for one that brings more."
            )
            return [Finding(name="young rows", status=Grade.WARN, sentence=words)]
    words = "The newest rows have outcomes as older ones do. Nothing to do."
    return [Finding(name="young rows", status=Grade.OK, sentence=words)]


def _within(inner: NDArray[np.generic], outer: NDArray[np.generic]) -> float:
    return float(np.mean((inner >= outer.min()) & (inner <= outer.max())))


def _no_overlap(logs: Logs) -> Finding:
    arm = int(np.argmin(logs.arm_rows))
    words = (
        f"The past policy gave {logs.treatments[arm]!r} to {logs.arm_rows[arm]} rows only: overlap cannot be checked. "
        "Estimate that arm from trial rows."
    )
    return Finding(name="overlap", status=Grade.WARN, sentence=words)
