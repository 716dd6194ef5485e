"""STATE and the regression-adjusted mean (MLRATE) of one arm against control, with paired standard errors.

Every row has an influence on both estimates. The variance of each estimate, of their difference and of each lift
follows from the same sums of influences over rows, or over clusters. With ρ control's ratio (its mean if the metric is no
ratio), L = value - ρ · denominator and z̄ the other arm's mean denominator, both effects are

    effect = a1 / z̄,    a1 the coefficient of T in a regression of L:

- MLRATE: least squares on 1, T, g, (g - ḡ) T: each arm has its own slope, and a1 is the difference of the two lines at ḡ;
- STATE: maximum likelihood with Student-t errors on 1, T, g.

Reference:
    Guo et al. 2021, "Machine learning for variance reduction in online experiments" (MLRATE), NeurIPS; STATE, KDD 2024;
    White 1982 (sandwich); Hausman 1978 (comparison of two estimators that agree if the assumptions of one are true).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from largesse._arguments import checked
from largesse.errors import DataError, UndefinedMetric
from largesse.experiment.data.sample import Block, Floats, Source
from largesse.experiment.estimators.effect import Effect, Estimate, Level, has_lift
from largesse.experiment.estimators.influence import Influences, InfluenceSums, InfluentialRow
from largesse.experiment.estimators.state import Convergence, Scaling, StudentFit, fit_student, nu_score
from largesse.experiment.estimators.totals import Totals, totals
from largesse.result import Result

__all__ = ["Contrast", "contrast", "spread_of"]


@checked
@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Contrast(Result):
    """One arm against control by MLRATE and STATE.

    Attributes:
        arm: The arm compared with control.
        mlrate: The regression-adjusted mean.
        state: The Student-t regression.
        difference: STATE minus MLRATE.
        difference_se: Standard error of the difference, paired.
        units: Effective number of rows (or clusters) of the difference: (Σ d²)² / Σ d⁴, d the influence on it. Below a few
            dozen the normal approximation fails.
        nu: Degrees of freedom ν of the Student-t.
        scale: Scale σ of the Student-t, in units of the metric.
        status: How the Student-t fit ended, see `Convergence`.
        passes: Number of passes of that fit over all rows.
        largest: Share of the adjusted mean's variance that is due to its most influential row (or cluster).
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
    influential: tuple[InfluentialRow, ...]


class Line(NamedTuple):
    """Least-squares line of L on g in one arm: mean L, mean g, slope, sum of weights, and sum of squares of g - mean g."""

    level: float
    centre: float
    slope: float
    weight: float
    squares: float

    def at(self, g: float) -> float:
        """Returns the line's value at g."""
        return self.level + self.slope * (g - self.centre)


@checked
def contrast(
    source: Source, other: int, *, nu: float | None = 10.0, level: float = 0.95, sums: Totals | None = None
) -> Contrast:
    """Returns MLRATE and STATE of one arm against control.

    Args:
        source: The rows: a `Sample`, or `Batches`, which are read again in every pass.
        other: Code of the arm compared with control.
        nu: Degrees of freedom of the Student-t; None estimates them.
        level: Coverage of the intervals.
        sums: `totals(source)`, if already computed.

    Raises:
        DataError: The metric does not vary in these arms, or the Student-t likelihood has no unique maximum.

    >>> from largesse.experiment import Sample
    >>> rng = np.random.default_rng(0)
    >>> g, arm = rng.normal(size=4000), np.arange(4000) % 2
    >>> value = 5 + 2 * g + 0.5 * arm + rng.standard_t(3, size=4000)
    >>> pair = contrast(Sample(value=value, arm=arm, arms=("A", "B"), prediction=g), 1)
    >>> round(pair.mlrate.effect, 2), round(pair.state.effect, 2)
    (0.5, 0.47)
    >>> round(pair.state.se / pair.mlrate.se, 2)
    0.75
    """
    return _Pair(source, other, nu, totals(source) if sums is None else sums).result(level)


def _least_squares(sums: Totals, arms: tuple[str, ...], other: int) -> tuple[Scaling, tuple[Line, Line], Floats]:
    """Returns the scaling, both arms' lines, and the start of the Student-t fit (b0, b1, b2, σ²) in scaled units."""
    ratio = sums.mean(0, "value") / sums.mean(0, "denominator")
    both = sums.of(0, other)
    lines = tuple(_line(sums, arm, ratio) for arm in (0, other))
    squares = sum(sums.linearised(arm, ratio) for arm in (0, other))
    scale = spread_of(sums, other)
    if not scale:
        where = f"in every row of the arms {arms[0]!r} and {arms[other]!r}"
        raise UndefinedMetric.at(
            "value", f": is the same {where}, so there is nothing to compare. Check whether this is the right column."
        )
    g = "prediction"
    spread = np.sqrt(max(both.spread(0, g, g), 0.0) / both.weight[0])
    centre = both.mean(0, g) if g in sums.names else 0.0
    scaling = Scaling(ratio, float(scale), centre, float(spread) if spread > 1e-12 * abs(centre) else np.inf)
    a, b = lines
    within = a.squares + b.squares
    slope = (a.slope * a.squares + b.slope * b.squares) / within if within > 0 else 0.0  # common to both arms
    intercept = a.level + slope * (centre - a.centre)
    effect = b.level + slope * (centre - b.centre) - intercept
    variance = max(squares - slope**2 * within, 0.0) / both.weight[0]
    scaled_slope = slope * scaling.spread / scale if np.isfinite(scaling.spread) else 0.0
    start = np.array([intercept / scale, effect / scale, scaled_slope, variance / scale**2])
    return scaling, (a, b), start


def spread_of(sums: Totals, other: int) -> float:
    """Returns the standard deviation of the linearised metric within control and one arm; 0 if there is nothing to compare."""
    ratio = sums.mean(0, "value") / sums.mean(0, "denominator")
    squares = sum(sums.linearised(arm, ratio) for arm in (0, other))
    spread = float(np.sqrt(max(squares, 0.0) / sums.weight[[0, other]].sum()))
    everywhere = float(np.sqrt(max(sums.of(*range(len(sums.rows))).linearised(0, ratio), 0.0) / sums.weight.sum()))
    return spread if spread > max(1e-12 * abs(ratio), 1e-7 * everywhere) else 0.0


def _line(sums: Totals, arm: int, ratio: float) -> Line:
    g, weight = "prediction", float(sums.weight[arm])
    level = sums.mean(arm, "value") - ratio * sums.mean(arm, "denominator")
    centre, squares = sums.mean(arm, g) if g in sums.names else 0.0, sums.spread(arm, g, g)
    if not squares > 1e-12 * weight * centre**2:
        return Line(level, centre, 0.0, weight, 0.0)
    slope = (sums.spread(arm, "value", g) - ratio * sums.spread(arm, "denominator", g)) / squares
    return Line(level, centre, slope, weight, squares)


class _Pair:
    """The fits of one arm and control, and the influences of the rows on them."""

    def __init__(self, source: Source, other: int, nu: float | None, sums: Totals) -> None:
        self.source, self.other, self.sums = source, other, sums
        self.scaling, self.lines, start = _least_squares(sums, source.arms, other)
        self.fit = fit_student(source, other, self.scaling, start, nu=nu, rows=int(sums.rows.sum()))
        self.row = _inverse_row(self.fit, source.arms[other])
        centre, denominator = self.scaling.centre, sums.mean(other, "denominator")
        adjusted = self.lines[1].at(centre) - self.lines[0].at(centre)
        # of STATE and MLRATE: effect = a1 / z̄, and ∂a1/∂ρ
        self.effects = (float(self.fit.theta[1]) * self.scaling.scale / denominator, adjusted / denominator)
        self.slopes = self._slopes_in_ratio() if "denominator" in sums.names else (0.0, 0.0)

    def _slopes_in_ratio(self) -> tuple[float, float]:
        """Returns ∂a1/∂ρ of STATE and of MLRATE; both are near 0 where the arms' denominators are similar."""
        (*_, s2, nu), total = self.fit.theta, np.zeros(5)
        for block in self.source.blocks():
            t, r, v, _ = self._residuals(block)
            q = r * r / s2
            z = self._weights(block) * block.denominator
            common = z * (nu + 1) / (nu + q) ** 2 / s2  # -∂s/∂ρ = common · (...) / scale
            curvature = common * (nu - q)
            of_nu = z * (q - 1) / (nu + q) ** 2 * r / s2
            total += [curvature.sum(), curvature @ t, curvature @ v, (common * nu) @ r, -of_nu.sum()]
        control, treated = (_denominator_at(self.sums, arm, self.scaling.centre) for arm in (0, self.other))
        return -float(self.row @ total), -(treated - control)

    def _weights(self, block: Block) -> Floats:
        """Returns the weights of the rows, 0 for rows of other arms (n,)."""
        pair = (block.arm == 0) | (block.arm == self.other)
        return np.where(pair, block.weight if block.weight.size else 1.0, 0.0)

    def _residuals(self, block: Block) -> tuple[Floats, Floats, Floats, Floats]:
        """Returns T, the scaled residual r of the Student-t fit, the scaled prediction v, and L, each (n,)."""
        s, (b0, b1, b2, *_) = self.scaling, self.fit.theta
        t = (block.arm != 0).astype(np.float64)
        linear = block.value - s.ratio * (block.denominator if block.denominator.size else 1.0)
        v = (block.prediction - s.centre) / s.spread if block.prediction.size else np.zeros(len(t))
        return t, linear / s.scale - b0 - b1 * t - b2 * v, v, linear

    def influences(self) -> Iterator[Influences]:
        """Yields the influences of each block."""
        start = 0
        for block in self.source.blocks():
            t, r, v, linear = self._residuals(block)
            state = self._on_state(t, r, v) * self.scaling.scale
            mean = self._on_mean(t, block.prediction if block.prediction.size else np.zeros(len(t)), linear)
            each = np.column_stack(self._on_effects(block, t, linear, state, mean))
            each *= self._weights(block)[:, None]
            yield Influences(each, block.value, block.arm, start)
            start += len(t)

    def _on_state(self, t: Floats, r: Floats, v: Floats) -> Floats:
        """Returns the b1 entry of A⁻¹ s_i, from the scores s_i of b0, b1, b2, ln σ², ν (n,)."""
        *_, s2, nu = self.fit.theta
        q = r * r / s2
        eta = (nu + 1) / (nu + q)
        out = eta * r / s2 * (self.row[0] + self.row[1] * t + self.row[2] * v) + self.row[3] * 0.5 * (eta * q - 1)
        if self.row[4]:
            out += self.row[4] * (nu_score(nu) + 0.5 * (eta * q / nu - np.log1p(q / nu)))
        return out

    def _on_mean(self, t: Floats, g: Floats, linear: Floats) -> Floats:
        """Returns ± e (1/W_a + (ḡ - ḡ_a)(g - ḡ_a)/S_a) + (slope_1 - slope_0)(g - ḡ)/W, e the residual from the arm's line."""
        centre, (a, b) = self.scaling.centre, self.lines
        out = (b.slope - a.slope) / (a.weight + b.weight) * (g - centre)
        for line, sign, member in ((a, -1.0, 1.0 - t), (b, 1.0, t)):
            leverage = (centre - line.centre) / line.squares if line.squares else 0.0
            g_centred = g - line.centre
            residual = linear - line.level - line.slope * g_centred
            out += member * (residual * (sign / line.weight + sign * leverage * g_centred))
        return out

    def _on_effects(self, block: Block, t: Floats, linear: Floats, state: Floats, mean: Floats) -> tuple[Floats, ...]:
        """Returns the influences on both effects and on ρ, from those on a1 at a fixed ρ, each (n,)."""
        weights = self.sums.weight
        ratio = np.where(t == 0, linear, 0.0) / (weights[0] * self.sums.mean(0, "denominator"))
        if not block.denominator.size:
            return state, mean, ratio
        denominator = self.sums.mean(self.other, "denominator")
        z = np.where(t == 1, block.denominator - denominator, 0.0) / weights[self.other]
        on_effects = (  # effect = a1(ρ) / z̄_T
            (on_a1 + slope * ratio - effect * z) / denominator
            for on_a1, slope, effect in zip((state, mean), self.slopes, self.effects, strict=True)
        )
        return (*on_effects, ratio)

    def result(self, level: float) -> Contrast:
        """Returns both estimates with their standard errors, in one pass over the rows."""
        influence = InfluenceSums(self.other)
        for part in self.influences():
            influence.add(part, self.source)
        rows, ratio = float(self.sums.rows[[0, self.other]].sum()), self.scaling.ratio
        cov, units, largest, n = influence.finish(rows)
        residual = max(rows - 2 - 2 * ("prediction" in self.sums.names), 1.0)  # degrees of freedom
        cov *= n / (n - 1) * (rows - 1) / residual if n else rows / residual
        freedom, arms = n - 1 if n else residual, self.source.arms
        state_shape, mean_shape = (one.shape() for one in influence.shapes)
        lift = self._has_lift(cov, level)
        state, mean = (
            Effect.of(
                name, arms[self.other],
                Estimate(Level(self.effects[k], float(np.sqrt(cov[k, k]))), Level(ratio, float(np.sqrt(cov[2, 2]))),
                         float(cov[k, 2]), freedom, shape),
                level, lift=lift,
            )
            for k, (name, shape) in enumerate((("STATE", state_shape._replace(unit=0.0, skewness=0.0)), ("MLRATE", mean_shape)))
        )  # fmt: skip
        variance = cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]
        return Contrast(
            arm=arms[self.other], mlrate=mean, state=state, difference=state.effect - mean.effect, units=units,
            difference_se=float(np.sqrt(max(variance, 0.0))), nu=float(self.fit.theta[4]), status=self.fit.status,
            scale=float(np.sqrt(self.fit.theta[3])) * self.scaling.scale, passes=self.fit.passes, largest=largest,
            influential=tuple(influence.top),
        )  # fmt: skip

    def _has_lift(self, cov: Floats, level: float) -> bool:
        """Returns whether the ratio of the effect to control's mean says something."""
        control, treatment = Level(self.scaling.ratio, float(np.sqrt(cov[2, 2]))), _row_level(self.sums, self.other)
        return has_lift(control, treatment, level, self.scaling.scale)


def _row_level(sums: Totals, arm: int) -> Level:
    """Returns an arm's mean (or ratio) and its standard error, as if every row were a unit."""
    denominator = sums.mean(arm, "denominator")
    ratio = sums.mean(arm, "value") / denominator
    return Level(
        ratio, float(np.sqrt(max(sums.linearised(arm, ratio), 0.0) / sums.weight[arm] / sums.rows[arm])) / denominator
    )


def _inverse_row(fit: StudentFit, arm: str) -> Floats:
    """Returns the row of b1 in the inverse of the information, 0 for parameters that were not estimated (5,)."""
    free, row = fit.free, np.zeros(5)
    part = fit.information[np.ix_(free, free)]
    # The curvatures in b2 and in ν can differ by orders of magnitude: solve in units of the diagonal.
    size = np.sqrt(np.abs(np.diag(part)))
    size[size == 0] = 1.0
    unit = np.zeros(int(free.sum()))
    unit[1] = 1 / size[1]
    try:
        row[free] = np.linalg.solve(part / np.outer(size, size), unit) / size
    except np.linalg.LinAlgError as error:
        why = f": the Student-t likelihood of arm {arm!r} against control has no unique maximum."
        raise DataError.at("value", f"{why} Use CUPAC or MLRATE for this metric.") from error
    return row


def _denominator_at(sums: Totals, arm: int, g: float) -> float:
    """Returns the value at g of the least-squares line of the denominator on the prediction."""
    mean = sums.mean(arm, "denominator")
    if "prediction" not in sums.names:
        return mean
    squares = sums.spread(arm, "prediction", "prediction")
    slope = sums.spread(arm, "denominator", "prediction") / squares if squares > 0 else 0.0
    return mean + slope * (g - sums.mean(arm, "prediction"))
