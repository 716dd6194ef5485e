"""The first paragraph about an experiment: the tested arm against control, the estimator that is read, what is left."""

from __future__ import annotations

from math import isfinite

from largesse import _check
from largesse.experiment.estimators.effect import Effect
from largesse.experiment.measurement import Measured, Measurement
from largesse.experiment.returns import ArmReturn
from largesse.report.content import Headline
from largesse.report.effects import roi_words
from largesse.report.numbers import interval, percent, percent_interval, places

__all__ = ["headline", "opening", "why_read"]

_WHY = {
    "STATE": "STATE is read: it is shown to estimate the mean effect here",
    "CUPAC": "CUPAC is read: it estimates the mean effect, without the part of the noise that the features predict",
    "CUPED": "CUPED is read: it estimates the mean effect, without the part of the noise that the column before explains",
    "difference in means": "The difference in means is read: no features or column from before the experiment are named",
}
_MOST = 4  # further sentences under the first


def headline(measurement: Measurement, tested: str | None = None) -> Headline:
    """Returns the first paragraph of the report.

    Args:
        measurement: The measured experiment.
        tested: The arm that was to be tested; None: all arms, in their natural order.
    """
    first = measurement.metrics[0]
    lead = opening(measurement, tested)
    more = [_effects_on(one, measurement, tested) for one in measurement.metrics[1:]]
    others = [f"{_sentence(first, arm, measurement)}." for arm in first.compared if tested not in (None, arm)]
    warned = any(guard.warns for one in measurement.metrics for guard in one.guards)
    action = "Read the effects in bold."
    if not measurement.ok:
        bad = " and ".join(f.name for f in measurement.findings if not f.ok)
        action = f"Explain the failed check ({bad}) before you rely on any effect."
    elif warned:
        action = "STATE measures the typical unit here, not the mean: read the effects in bold."
    metrics = ", ".join(one.metric for one in measurement.metrics)
    arms = tested or ", ".join(first.arms[1:])
    summary = (*lead[1:], *more, *others)[:_MOST]
    return Headline(
        title=f"Experiment: {metrics}, {arms} against {first.arms[0]}", sentence=lead[0], summary=summary, action=action
    )


def opening(measurement: Measurement, tested: str | None = None) -> tuple[str, ...]:
    """Returns the effect on the first metric, what is left after the cost, and which estimator is read, as sentences.

    The arm is the tested one; without it, all arms stand in their natural order: the best of them on the same rows would be
    too good by chance.
    """
    first = measurement.metrics[0]
    arms = _arms(first, tested)
    net = tuple(_net(one, measurement.level) for one in measurement.returns if one.arm in arms)
    net = (*net, *_net_why(first, measurement, arms))
    why = dict.fromkeys(why_read(first, arm) for arm in arms)
    return (_effects_on(first, measurement, tested), *net, *why)


def why_read(one: Measured, arm: str) -> str:
    """Returns which estimator of a metric is read for an arm, and why, in one sentence."""
    method = one.reading(arm).method
    return f"{_WHY[method]}{'' if method == 'STATE' else '; STATE is not shown to estimate the mean'}."


def _arms(one: Measured, tested: str | None) -> tuple[str, ...]:
    return (tested,) if tested in one.compared and tested is not None else one.compared


def _effects_on(one: Measured, measurement: Measurement, tested: str | None) -> str:
    return "; ".join(_sentence(one, arm, measurement) for arm in _arms(one, tested)) + "."


def _sentence(one: Measured, arm: str, measurement: Measurement) -> str:
    effect = one.reading(arm)
    size = interval(
        effect.effect, effect.low, effect.high, decimals=places([(effect.high - effect.low) / 2]), sign=True
    )
    lift = f", {percent_interval(effect.lift, effect.lift_low, effect.lift_high, sign=True)} of control's level"
    return (
        f"{one.metric}: {arm} against {one.arms[0]} by {effect.method}: {size} at {percent(measurement.level)}"
        f"{lift if isfinite(effect.lift) and isfinite(effect.lift_low) else ''}{_adjusted(effect, measurement)}"
        f"{f'; {effect.caution}' if effect.caution else ''}"
    )


def _adjusted(effect: Effect, measurement: Measurement) -> str:
    compared = sum(len(one.compared) for one in measurement.metrics)
    if compared < 2 or not isfinite(effect.p_adjusted):
        return ""
    return f", p {_check.p_value(effect.p_adjusted, '= ')} (adjusted for {compared} comparisons; the interval is not)"


def _net_why(first: Measured, measurement: Measurement, arms: tuple[str, ...]) -> tuple[str, ...]:
    """Returns why the net effect is not by the estimator that is read, and that its intervals count one arm, where so."""
    shown = [one for one in measurement.returns if one.arm in arms]
    others = [one for one in shown if one.method != first.reading(one.arm).method]
    out = []
    if others:
        out.append(
            f"Net effect and return are by {others[0].method}, not {first.reading(others[0].arm).method}: value and cost are "
            "set against each other row by row, so both need the same estimator of a mean."
        )
    if len(shown) > 1:
        out.append(f"These intervals of the net effect are not adjusted for the number of arms ({len(shown)}).")
    return tuple(out)


def _net(one: ArmReturn, level: float) -> str:
    digits = places([(one.high - one.low) / 2])
    size = interval(one.net, one.low, one.high, decimals=digits, sign=True)
    verdict = (
        "it is shown to pay" if one.low > 0 else "it is shown not to pay" if one.high < 0 else "it is not shown to pay"
    )
    return f"{one.arm} leaves {size} per unit after its cost by {one.method}, at {percent(level)}: {verdict}; {roi_words(one)}."
