"""STATE and the regression-adjusted mean (MLRATE) of one arm against control, with paired errors.

Every row adds its influence to both estimates, so the error of each, of their difference and of their ratio to
control's level follow from the same sums over rows, or over clusters. With ρ control's ratio (its mean where the metric
is no ratio), L = value - ρ · denominator and z̄ the other arm's mean denominator, both are

    effect = a1 / z̄,    a1 the coefficient of T in a regression of L:

- MLRATE: least squares on 1, T, g, (g - ḡ) T: each arm has a slope, and a1 is the difference of its lines at ḡ;
- STATE: maximum likelihood with Student-t errors on 1, T, g.

Reference:
    Guo et al. 2021, "Machine learning for variance reduction in online experiments" (MLRATE), NeurIPS; STATE, KDD 2024;
    White 1982 (sandwich); Hausman 1978 (two estimators that agree where the assumptions of one hold).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from largesse.errors import DataError
from largesse.experiment.data.sample import Block, Floats, Source
from largesse.experiment.estimators.effect import Effect, of_error
from largesse.experiment.estimators.influence import Errors, Influential, Parts
from largesse.experiment.estimators.state import Convergence, Scaling, StudentFit, fit_student, nu_score
from largesse.experiment.estimators.totals import Totals, totals
from largesse.result import Result

__all__ = ["Contrast", "Influential", "contrast"]


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Contrast(Result):
    """One arm against control by MLRATE and STATE.

    Attributes:
        arm: The arm compared with control.
        mlrate: The regression-adjusted mean.
        state: The Student-t regression.
        difference: STATE less MLRATE.
        difference_se: Its standard error, paired.
        units: How many equal rows would carry as much of the error of the difference as the heaviest do:
            (Σ d²)² / Σ d⁴. Below a few dozen no normal approximation holds.
        nu: Degrees of freedom of the Student-t.
        scale: Its σ, in units of the metric.
        status: Of the Student-t fit, see `StudentFit`.
        passes: Passes of that fit over all rows.
        largest: Share of the variance of the adjusted mean that its most influential row (or cluster) makes up.
        influential: The rows that move the adjusted mean most.
    """

    arm: str
    mlrate: Effect
    state: Effect
    difference: float
    difference_se: float
    units: float
    nu: float
    scale: float
    status: Convergence
    passes: int
    largest: float
    influential: tuple[Influential, ...]


class Line(NamedTuple):
    """Least squares in one arm: its mean of L, its mean of g, its slope, its weight and its sum of squares of g."""

    level: float
    centre: float
    slope: float
    weight: float
    squares: float

    def at(self, g: float) -> float:
        """Returns the line's height."""
        return self.level + self.slope * (g - self.centre)


def contrast(
    source: Source, other: int, *, nu: float | None = 10.0, level: float = 0.95, sums: Totals | None = None
) -> Contrast:
    """Returns MLRATE and STATE of one arm against control.

    Args:
        source: The rows: a `Sample`, or `Batches` that are read at every pass.
        other: Code of the arm.
        nu: Degrees of freedom of the Student-t; None estimates them.
        level: Coverage of the intervals.
        sums: `totals(source)`, where they are known.

    Raises:
        DataError: The metric does not vary in these arms, or the Student-t fit has no highest point.

    >>> from largesse.experiment import Sample
    >>> rng = np.random.default_rng(0)
    >>> g, arm = rng.normal(size=4000), np.arange(4000) % 2
    >>> value = 5 + 2 * g + 0.5 * arm + rng.standard_t(3, size=4000)
    >>> found = contrast(Sample(value=value, arm=arm, arms=("A", "B"), prediction=g), 1)
    >>> round(found.mlrate.effect, 2), round(found.state.effect, 2)
    (0.5, 0.47)
    >>> round(found.state.se / found.mlrate.se, 2)
    0.75
    """
    sums = totals(source) if sums is None else sums
    scaling, lines, start = _least_squares(sums, source.arms, other)
    fit = fit_student(source, other, scaling, start, nu=nu, rows=int(sums.rows.sum()))
    pair = _Pair.of(source, other, sums, scaling, lines, fit)
    return pair.result(level)


def _least_squares(sums: Totals, arms: tuple[str, ...], other: int) -> tuple[Scaling, tuple[Line, Line], Floats]:
    """Returns the scaling, each arm's line, and the start of the Student-t fit in scaled units."""
    ratio = sums.mean(0, "value") / sums.mean(0, "denominator")
    both = sums.of(0, other)
    lines = tuple(_line(sums, arm, ratio) for arm in (0, other))
    squares = sum(_squares(sums, arm, ratio) for arm in (0, other))
    scale = np.sqrt(max(squares, 0.0) / both.weight[0])
    if not scale > 1e-12 * abs(ratio):
        where = f"in every row of the arms {arms[0]!r} and {arms[other]!r}"
        raise DataError.at(
            "value", f": is the same {where}, so there is nothing to compare. Is the column the right one?"
        )
    spread = np.sqrt(max(both.spread(0, "prediction", "prediction"), 0.0) / both.weight[0])
    centre = both.mean(0, "prediction") if "prediction" in sums.names else 0.0
    scaling = Scaling(ratio, float(scale), centre, float(spread) if spread > 1e-12 * abs(centre) else np.inf)
    a, b = lines
    within = a.squares + b.squares
    slope = (a.slope * a.squares + b.slope * b.squares) / within if within > 0 else 0.0
    base = a.level + slope * (centre - a.centre)
    effect = b.level + slope * (centre - b.centre) - base
    left = max(squares - slope**2 * within, 0.0) / both.weight[0]
    tilt = slope * scaling.spread / scale if np.isfinite(scaling.spread) else 0.0
    start = np.array([base / scale, effect / scale, tilt, left / scale**2])
    return scaling, (a, b), start


def _squares(sums: Totals, arm: int, ratio: float) -> float:
    """Σ (L - L̄)² in an arm."""
    y, z = "value", "denominator"
    return sums.spread(arm, y, y) - 2 * ratio * sums.spread(arm, y, z) + ratio**2 * sums.spread(arm, z, z)


def _line(sums: Totals, arm: int, ratio: float) -> Line:
    level = sums.mean(arm, "value") - ratio * sums.mean(arm, "denominator")
    if "prediction" not in sums.names:
        return Line(level, 0.0, 0.0, float(sums.weight[arm]), 0.0)
    g, centre = "prediction", sums.mean(arm, "prediction")
    squares = sums.spread(arm, g, g)
    if not squares > 1e-12 * sums.weight[arm] * centre**2:
        return Line(level, centre, 0.0, float(sums.weight[arm]), 0.0)
    slope = (sums.spread(arm, "value", g) - ratio * sums.spread(arm, "denominator", g)) / squares
    return Line(level, centre, slope, float(sums.weight[arm]), squares)


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """All that the influence of a row on the estimates depends on."""

    source: Source
    other: int
    sums: Totals
    scaling: Scaling
    lines: tuple[Line, Line]
    fit: StudentFit
    row: Floats
    effects: tuple[float, float]
    moved: tuple[float, float]

    @classmethod
    def of(
        cls, source: Source, other: int, sums: Totals, scaling: Scaling, lines: tuple[Line, Line], fit: StudentFit
    ) -> _Pair:
        row = _row(fit, scaling, source.arms[other])
        centre, below = scaling.centre, sums.mean(other, "denominator")
        adjusted = lines[1].at(centre) - lines[0].at(centre)
        effects = (float(fit.theta[1]) * scaling.scale / below, adjusted / below)
        pair = cls(source, other, sums, scaling, lines, fit, row, effects, (0.0, 0.0))
        return replace(pair, moved=pair._moved()) if "denominator" in sums.names else pair

    def _moved(self) -> tuple[float, float]:
        """∂a1/∂ρ of STATE and of MLRATE; both are near 0 where the arms' denominators are alike."""
        s, total = self.scaling, np.zeros(5)
        for block in self.source.blocks():
            t, r, v, _ = self._residuals(block)
            q, nu = r * r / self.fit.theta[3], self.fit.theta[4]
            z = np.where(self._member(block), block.denominator, 0.0) * (block.weight if block.weight.size else 1.0)
            bend = z * (nu + 1) / (nu + q) ** 2 / self.fit.theta[3]  # -∂s/∂ρ = bend · (...) / scale
            slope = bend * (nu - q)
            off = z * (q - 1) / (nu + q) ** 2 * r / self.fit.theta[3]
            total += [slope.sum(), slope @ t, slope @ v, (bend * nu) @ r, -off.sum()]
        plain = [_line_of_denominator(self.sums, arm, s.centre) for arm in (0, self.other)]
        return -float(self.row @ total), -(plain[1] - plain[0])

    def _member(self, block: Block) -> Floats:
        out: Floats = (block.arm == 0) | (block.arm == self.other)
        return out

    def _residuals(self, block: Block) -> tuple[Floats, Floats, Floats, Floats]:
        """T, the scaled residual of the Student-t fit, the scaled prediction, and L."""
        s, (b0, b1, b2, *_) = self.scaling, self.fit.theta
        t = (block.arm != 0).astype(np.float64)
        left = block.value - s.ratio * (block.denominator if block.denominator.size else 1.0)
        v = (block.prediction - s.centre) / s.spread if block.prediction.size else np.zeros(len(t))
        return t, left / s.scale - b0 - b1 * t - b2 * v, v, left

    def influences(self) -> Iterator[Parts]:
        """Yields each block's influences, 0 for rows of other arms."""
        start = 0
        for block in self.source.blocks():
            t, r, v, left = self._residuals(block)
            weight = block.weight if block.weight.size else 1.0
            state = self._of_state(t, r, v) * self.scaling.scale
            mean = self._of_mean(t, block.prediction if block.prediction.size else np.zeros(len(t)), left)
            each = np.column_stack(self._of_ratio(block, t, left, state, mean))
            each *= np.where(self._member(block), weight, 0.0)[:, None]
            yield Parts(each, block.value, block.arm, start)
            start += len(t)

    def _of_state(self, t: Floats, r: Floats, v: Floats) -> Floats:
        """(A⁻¹ s_i) of b1, from the scores of b0, b1, b2, ln σ², ν."""
        *_, s2, nu = self.fit.theta
        q = r * r / s2
        eta = (nu + 1) / (nu + q)
        out = eta * r / s2 * (self.row[0] + self.row[1] * t + self.row[2] * v) + self.row[3] * 0.5 * (eta * q - 1)
        if self.row[4]:
            out += self.row[4] * (nu_score(nu) + 0.5 * (eta * q / nu - np.log1p(q / nu)))
        return out

    def _of_mean(self, t: Floats, g: Floats, left: Floats) -> Floats:
        """± e (1/W + (ḡ - ḡ_a)(g - ḡ_a)/S_a) + (slope_1 - slope_0)(g - ḡ)/W, e the residual from the arm's line."""
        centre, (a, b) = self.scaling.centre, self.lines
        out = (b.slope - a.slope) / (a.weight + b.weight) * (g - centre)
        for line, sign, here in ((a, -1.0, 1.0 - t), (b, 1.0, t)):
            tilt = (centre - line.centre) / line.squares if line.squares else 0.0
            off = g - line.centre
            out += here * ((left - line.level - line.slope * off) * (sign / line.weight + sign * tilt * off))
        return out

    def _of_ratio(self, block: Block, t: Floats, left: Floats, state: Floats, mean: Floats) -> tuple[Floats, ...]:
        """Influences on the effects, which divide a1(ρ) by z̄_T, and on ρ itself."""
        weights = self.sums.weight
        ratio = np.where(t == 0, left, 0.0) / (weights[0] * self.sums.mean(0, "denominator"))
        if not block.denominator.size:
            return state, mean, ratio
        below = self.sums.mean(self.other, "denominator")
        z = np.where(t == 1, block.denominator - below, 0.0) / weights[self.other]
        # effect = a1(ρ) / z̄_T
        found = [
            (own + moved * ratio - effect * z) / below
            for own, moved, effect in zip((state, mean), self.moved, self.effects, strict=True)
        ]
        return found[0], found[1], ratio

    def result(self, level: float) -> Contrast:
        """Returns both estimates with their errors: one pass over the rows."""
        errors = Errors()
        for part in self.influences():
            errors.add(part, self.source)
        rows, ratio = float(self.sums.rows[[0, self.other]].sum()), self.scaling.ratio
        cov, units, largest, n = errors.finish(rows)
        left = max(rows - 2 - 2 * ("prediction" in self.sums.names), 1.0)
        cov *= n / (n - 1) * (rows - 1) / left if n else rows / left
        freedom, arm = n - 1 if n else left, self.source.arms[self.other]
        state, mean = (
            of_error(name, arm, ratio, self.effects[k], _se(cov, k, self.effects[k], ratio), freedom, level)
            for k, name in enumerate(("STATE", "MLRATE"))
        )
        gap = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]
        return Contrast(
            arm=arm, mlrate=mean, state=state, difference=state.effect - mean.effect, units=units,
            difference_se=float(np.sqrt(max(gap, 0.0))), nu=float(self.fit.theta[4]), status=self.fit.status,
            scale=float(np.sqrt(self.fit.theta[3])) * self.scaling.scale, passes=self.fit.passes, largest=largest,
            influential=tuple(
                Influential(row, self.source.arms[arm], value, -mean, -state)
                for _, row, arm, value, state, mean in errors.top
            ),
        )  # fmt: skip


def _row(fit: StudentFit, scaling: Scaling, arm: str) -> Floats:
    """Returns the row of b1 in the inverse of the information, 0 where nothing was estimated (5,)."""
    free, row = fit.free, np.zeros(5)
    part = fit.information[np.ix_(free, free)]
    # The scale of b2's curvature and of ν's may lie far apart: solve in units of the diagonal.
    size = np.sqrt(np.abs(np.diag(part)))
    size[size == 0] = 1.0
    unit = np.zeros(int(free.sum()))
    unit[1] = 1 / size[1]
    try:
        row[free] = np.linalg.solve(part / np.outer(size, size), unit) / size
    except np.linalg.LinAlgError as error:
        why = f": the Student-t likelihood of arm {arm!r} against control has no single highest point."
        raise DataError.at("value", f"{why} Use CUPAC or MLRATE for this metric.") from error
    return row


def _line_of_denominator(sums: Totals, arm: int, g: float) -> float:
    """Returns the height at g of the least-squares line of the denominator."""
    mean = sums.mean(arm, "denominator")
    if "prediction" not in sums.names:
        return mean
    squares = sums.spread(arm, "prediction", "prediction")
    slope = sums.spread(arm, "denominator", "prediction") / squares if squares > 0 else 0.0
    return mean + slope * (g - sums.mean(arm, "prediction"))


def _se(cov: Floats, k: int, effect: float, ratio: float) -> tuple[float, float]:
    """Standard errors of an effect and of its ratio to control's level (delta method)."""
    se = float(np.sqrt(cov[k, k]))
    if ratio == 0:
        return se, float("nan")
    slope = np.array([1 / ratio, -effect / ratio**2])
    part = cov[np.ix_([k, 2], [k, 2])]
    return se, float(np.sqrt(max(slope @ part @ slope, 0.0)))
