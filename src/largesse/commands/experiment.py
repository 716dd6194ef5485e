"""`experiment`: measures the effects in a table of an experiment, and writes a report, the numbers and a picture."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from largesse import __version__, _check, report
from largesse._files import atomic_folder, may_write
from largesse.commands.findings.experiment import headline
from largesse.experiment.data.columns import Columns
from largesse.experiment.estimators.effect import METHODS, Effect
from largesse.experiment.measurement import Measured, Measurement, Settings, measure
from largesse.report.numbers import percent
from largesse.result import Brief, json_text

__all__ = ["MARKER", "Experimented", "experiment", "rows_of"]

MARKER = "effects.json"
_PACKAGES = ("numpy", "numba", "scipy", "lightgbm", "tea-tasting", "pyarrow")
_ROWS = 3  # most influential rows shown for each arm


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Experimented(Brief):
    """A measured experiment: its numbers, the content of its report, and its folder (None if nothing was written)."""

    measurement: Measurement
    shown: report.Effects
    folder: Path | None


def experiment(
    table: Any, columns: Columns, settings: Settings, *, planned: Mapping[str, float] | None = None,
    tested: str | None = None, methods: Sequence[str] = METHODS, folder: str | Path | None = None, replace: bool = False,
) -> Experimented:  # fmt: skip
    """Measures an experiment; with a folder, writes report.html, summary.md, sections.json, forest.png and effects.json.

    Args:
        table: A file or a dataframe.
        columns: Which column is what.
        settings: Options of the measurement.
        planned: Planned share of each arm by label.
        tested: The arm that was to be tested, which the report leads with; None: all arms, in their natural order.
        methods: Estimators that the report shows; all are computed.
        folder: Written whole or not at all.
        replace: Whether an older folder of that name may be replaced.

    Raises:
        LargesseError: The table breaks a rule, or the folder cannot be written.
    """
    if folder is not None:
        may_write(folder, replace=replace, marker=MARKER)
    began = time.perf_counter()
    measurement = measure(table, columns, settings, planned=planned)
    _known_arm(tested, measurement)
    shown = _shown(measurement, columns, settings, methods, tested, time.perf_counter() - began)
    if folder is None:
        return Experimented(measurement, shown, None)
    with atomic_folder(folder, replace=replace, marker=MARKER) as place:
        (place / MARKER).write_text(json_text(measurement), encoding="utf-8")
        report.write_effects(shown, place)
    return Experimented(measurement, shown, Path(folder))


def rows_of(one: Measured, methods: Sequence[str]) -> tuple[report.EffectRow, ...]:
    """Returns the effects on a metric by these estimators, as rows of a report."""
    return tuple(_row(one, effect) for effect in one.effects if effect.method in methods)


def _shown(
    measurement: Measurement,
    columns: Columns,
    settings: Settings,
    methods: Sequence[str],
    tested: str | None,
    seconds: float,
) -> report.Effects:
    return report.Effects(
        headline=headline(measurement, tested),
        level=measurement.level,
        findings=measurement.findings,
        effects=tuple(row for one in measurement.metrics for row in rows_of(one, methods)),
        verdicts=tuple(
            report.VerdictRow(one.metric, arm, guard.verdict, guard.sentence)
            for one in measurement.metrics for arm, guard in zip(one.compared, one.guards, strict=True)
        ),
        tails=tuple((one.metric, one.tails.sentence) for one in measurement.metrics),
        influence=tuple(
            report.InfluenceRow(one.metric, c.arm, row.row, row.value, row.mlrate, row.state)
            for one in measurement.metrics for c in one.contrasts for row in c.influential[:_ROWS]
        ),
        returns=measurement.returns,
        provenance=_about(measurement, columns, settings, seconds),
        cautions=_cautions(measurement, columns),
    )  # fmt: skip


def _known_arm(tested: str | None, measurement: Measurement) -> None:
    """Refuses an arm to be tested that is control, or no arm."""
    if tested is not None:
        _check.choice("arm-tested", tested, measurement.metrics[0].arms[1:])


def _row(one: Measured, effect: Effect) -> report.EffectRow:
    plain = one.effect("difference in means", effect.arm)
    return report.EffectRow(
        metric=one.metric, arm=effect.arm, method=effect.method, effect=effect.effect, low=effect.low, high=effect.high,
        lift=effect.lift, lift_low=effect.lift_low, lift_high=effect.lift_high, p_value=effect.p_adjusted,
        relative_error=effect.se / plain.se if plain.se > 0 else float("nan"),
        reading=effect.method == one.reading(effect.arm).method, events=effect.events, caution=effect.caution,
    )  # fmt: skip


def _about(measurement: Measurement, columns: Columns, settings: Settings, seconds: float) -> report.Provenance:
    one, how = measurement.metrics[0], settings.cross_fit
    learner = "LightGBM" if how.learner is None else type(how.learner).__name__
    made = f"{learner}, cross-fitted in {how.folds} parts, on {len(columns.features)} features: {', '.join(columns.features)}"
    nu = "estimated" if settings.nu is None else f"{settings.nu:g}"
    given = f"the column {columns.prediction}" if columns.prediction else "none"
    unit = f"; randomised unit: {columns.cluster}" if columns.cluster else ""
    return report.Provenance(
        model=f"Predictions: {made if columns.features else given}.",
        outcome=f"Student-t with ν {nu}; intervals at {percent(measurement.level)}{unit}.", seed=how.seed,
        versions=(("largesse", __version__), *((name, version(name)) for name in _PACKAGES)),
        rows=tuple(zip(one.arms, one.rows, strict=True)), seconds=seconds, made=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip


def _cautions(measurement: Measurement, columns: Columns) -> tuple[str, ...]:
    out = []
    for one in measurement.metrics:
        if any(c.largest > 0.1 for c in one.contrasts):
            share = max(c.largest for c in one.contrasts)
            out.append(
                f"{one.metric}: one row makes up {percent(share)} of the variance of the mean, so no interval of a mean is "
                "exact here. Look at the row; cap the metric if such values do not belong to the question."
            )
    if not columns.features and not columns.prediction:
        out.append(
            "CUPAC and MLRATE are left out: they need features, or a column with a prediction, and none is named."
        )
    out.append(
        "Choose the estimator before you see the effects. The one in bold follows from the guard, not from the effects."
    )
    return tuple(out)
