"""`update`: a challenger, learned from the trial of a run and from what its decisions brought, and judged on rows of neither.

The decisions of a ledger are rows of a trial: every treatment of each had a known probability. A share of their units, by a
salted hash, takes no part in learning and judges champion and challenger at the same budgets; the others join the old trial.
Everything else is `fit`: candidates, past data, proof.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from largesse import _check, frames
from largesse._files import atomic_folder, atomic_text, may_write
from largesse.commands.fit import fit
from largesse.commands.load import outcome_of, trial_design
from largesse.commands.run_folder import budgets_of_run, open_run, trial_rows
from largesse.config import Columns, Config, Data
from largesse.config import Design as Assigned
from largesse.errors import DataError, SchemaError
from largesse.evaluate.comparison import Bootstrap, Comparison, Verdict, compare
from largesse.experiment.design.assign import uniform_of
from largesse.logs import Logs
from largesse.policy.deployed import Policy
from largesse.progress import Say, silent
from largesse.report.numbers import count, interval
from largesse.result import json_text, plain
from largesse.serving import Ledger
from largesse.serving import trial_rows as served_rows
from largesse.serving.ledger.log import NOT_FEATURES

__all__ = ["CHALLENGER", "CHAMPION", "Updated", "update"]

CHAMPION, CHALLENGER = "champion", "challenger"
_SALT = "largesse update"
_ROWS, _TRIAL, _JUDGE, _MARKER = "rows", "trial.parquet", "judge.parquet", "update.json"
_FEWEST = 200  # rows that judge
_ALPHA = 0.05
_ALIKE = 0.2  # of the half-width of its interval: a difference below that says nothing of its size


@dataclass(frozen=True, slots=True, eq=False)
class Updated:
    """A challenger and how it compares with the champion.

    Attributes:
        folder: Its run folder.
        old_rows: Rows of the champion's trial that it learned from: all, or none with `since`.
        served_rows: Matured decisions that it learned from.
        judge_rows: Matured decisions that judge it.
        table: Champion and challenger on these, with paired differences from the champion.
        sentence: What it brings, or why nothing is shown.
        better: Whether it is shown to bring more at a budget, and less at none.
    """

    folder: Path
    old_rows: int
    served_rows: int
    judge_rows: int
    table: Comparison
    sentence: str
    better: bool

    @property
    def document(self) -> dict[str, Any]:
        """The content of the JSON document."""
        return {
            "folder": str(self.folder), "old_rows": self.old_rows, "served_rows": self.served_rows,
            "judge_rows": self.judge_rows, "sentence": self.sentence, "better": self.better, "rows": plain(self.table.rows()),
        }  # fmt: skip


def update(
    run: Path, store: str, folder: Path, *, campaign: str | None = None, judge_share: float = 0.3, since: str | None = None,
    replace: bool = False, fast: bool = False, say: Say = silent,
) -> Updated:  # fmt: skip
    """Fits a challenger on the trial of a run and on the matured decisions of a ledger, and compares the two on other decisions.

    Args:
        run: The champion: a run folder whose trial is still where its configuration says.
        store: Address of the ledger.
        folder: The run folder to make; the rows are written beside it, in a folder of its name with "-rows".
        campaign: Name of the campaign; None: the only one.
        judge_share: Share of the served units that judge, in [0.05, 0.9].
        since: A date, or a time, in UTC: only decisions from then on are learned from and judge, and the old trial is left out;
            for a world that has changed. None: all decisions, and the old trial.
        replace: Whether folders of these names may be replaced.
        fast: As for `fit`.
        say: Called with each stage and the share of the work that is done.

    Raises:
        DataError: Too few decisions have matured, or they have no features.
        LargesseError: The run, its trial, or the store cannot be used.
    """
    _check.number("--judge-share", judge_share, low=0.05, high=0.9)
    begin = None if since is None else _moment(since)
    config, policy = open_run(run)
    if policy.encoder is None:
        raise DataError.at("RUN", f" == {str(run)!r}: it has no encoder. Fit it with `largesse fit`.")
    rows_folder = folder.with_name(f"{folder.name}-{_ROWS}")
    may_write(folder, replace=replace)
    may_write(rows_folder, replace=replace, marker=_MARKER)
    say("reading the decisions", 0.0)
    served = _served(store, campaign, policy, begin)
    old, past = frames.read(config.data.rct, text=config.roles("rct").text), trial_rows(config, policy, config.data.rct)
    table = _old_rows(old, past, policy, config)
    served = _like(served, table, config)
    unit = served[_unit(config)].to_pylist()
    known = set(table[_unit(config)].to_pylist())
    judges = np.array([uniform_of(_SALT, one) < judge_share and one not in known for one in unit])
    if judges.sum() < _FEWEST:
        rule = f"{int(judges.sum())} matured decisions of other units than the trial's would judge the challenger"
        raise _check.refuse(
            "--judge-share", judge_share, f"{rule}; {_FEWEST} are needed", "Wait until more have matured."
        )
    old_rows = table.num_rows if begin is None else 0
    learned = served.filter(pa.array(~judges))
    with atomic_folder(rows_folder, replace=replace, marker=_MARKER) as place:
        frames.write(learned if begin is not None else pa.concat_tables([table, learned]), place / _TRIAL)
        frames.write(served.filter(pa.array(judges)), place / _JUDGE)
        about = {"run": str(run), "store": store, "campaign": campaign, "judge_share": judge_share, "since": since}
        atomic_text(place / _MARKER, json.dumps(about, indent=1))
    again = _configured(config, policy, rows_folder / _TRIAL)
    fit(again, folder=folder, replace=replace, fast=fast, say=say)
    return _judged(
        (run, folder), again, rows_folder / _JUDGE, (old_rows, learned.num_rows, int(judges.sum())),
    )  # fmt: skip


def _unit(config: Config) -> str:
    return config.columns.unit or "unit of the row"


def _moment(since: str) -> datetime:
    """Returns a date, or a time, in UTC."""
    try:
        got = datetime.fromisoformat(since)
    except ValueError:
        raise _check.refuse("--since", since, "is no date", "Write e.g. 2026-11-01.") from None
    return got.replace(tzinfo=UTC) if got.tzinfo is None else got.astimezone(UTC)


def _served(store: str, campaign: str | None, policy: Policy, begin: datetime | None) -> pa.Table:
    """Returns the matured decisions as a table; with a time, those from then on."""
    from largesse.serving.watch.lookup import named_campaign

    assert policy.encoder is not None
    with Ledger.open(store, create=False) as ledger:
        name = named_campaign(ledger, campaign)
        labels = ledger.treatments(name)
        if labels != policy.encoder.treatments:
            raise DataError.at(
                "RUN",
                f": has the treatments {policy.encoder.treatments}, the campaign {labels}. Give the run that it serves.",
            )
        batches = list(served_rows(ledger, name))
    if not batches:
        raise DataError.at(
            "--campaign", f" == {name!r}: none of its decisions has matured. Wait for the end of their window."
        )
    table = pa.Table.from_batches(batches)
    if begin is not None:
        table = table.filter(pc.greater_equal(table["time"], pa.scalar(begin, table["time"].type)))
        if not table.num_rows:
            last = max(batch["time"][-1].as_py() for batch in batches)
            raise _check.refuse(
                "--since", begin.isoformat(), f"no decision from then on has matured; the last one is of {last:%Y-%m-%d %H:%M}",
                "Give an earlier date.",
            )  # fmt: skip
    features = {f"feature_{one}" if one in NOT_FEATURES else one: one for one in policy.encoder.features}
    if missing := [one for own, one in features.items() if own not in table.column_names]:
        raise SchemaError(
            f"column {missing[0]!r}: is not stored with the decisions ({len(missing)} such columns). Serve with "
            "`features = true`: nothing can be learned from decisions without them.", field=missing[0],
        )  # fmt: skip
    plain_names = ["unit", "treatment", "propensity", "value", "cost"]
    return table.select([*plain_names, *features]).rename_columns(
        [*plain_names, *(f"feature {one}" for one in features.values())]
    )


def _old_rows(old: pa.Table, logs: Logs, policy: Policy, config: Config) -> pa.Table:
    """Returns the rows of the champion's trial, each with the probability of its treatment."""
    assert policy.encoder is not None
    columns, unit = config.columns, config.columns.unit
    labels = np.array(policy.encoder.treatments, object)[logs.treatment]
    ids = [str(one) for one in old[unit].to_pylist()] if unit else [f"trial {k}" for k in range(logs.n)]
    parts: dict[str, Any] = {columns.treatment: pa.array(labels, pa.string()), columns.value: logs.value}
    if columns.cost is not None:
        parts[columns.cost] = logs.cost
    parts |= {_propensity(config): logs.propensity, _unit(config): pa.array(ids, pa.string())}
    if columns.weight is not None:
        parts[columns.weight] = logs.weights
    return pa.table(parts | {one: old[one] for one in policy.encoder.features})


def _propensity(config: Config) -> str:
    return config.columns.propensity or "propensity of the treatment"


def _like(served: pa.Table, table: pa.Table, config: Config) -> pa.Table:
    """Returns the decisions with the columns of the trial, in its types.

    Raises:
        SchemaError: A feature has cells that its type in the trial cannot hold.
    """
    columns = config.columns
    source = {
        columns.treatment: "treatment",
        columns.value: "value",
        _propensity(config): "propensity",
        _unit(config): "unit",
    }
    if columns.cost is not None:
        source[columns.cost] = "cost"
    out = {}
    for field in table.schema:
        if field.name == columns.weight:
            out[field.name] = pa.array(np.ones(served.num_rows))
            continue
        cells = served[source.get(field.name, f"feature {field.name}")]
        try:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            own = cells if cells.type == kind else pc.cast(cells, kind)
            out[field.name] = own.combine_chunks().dictionary_encode() if pa.types.is_dictionary(field.type) else own
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaError(
                f"column {field.name!r}: the decisions hold {cells.type}, the trial {field.type} ({error}). Send this feature as "
                "in the trial.", field=field.name,
            ) from error  # fmt: skip
    return pa.table(out).cast(table.schema)


def _configured(config: Config, policy: Policy, trial: Path) -> Config:
    """Returns the configuration of the challenger."""
    assert policy.encoder is not None
    columns = Columns(
        treatment=config.columns.treatment, value=config.columns.value, cost=config.columns.cost, propensity=_propensity(config),
        unit=_unit(config), weight=config.columns.weight, features=policy.encoder.features,
        treatments=policy.encoder.treatments,
    )  # fmt: skip
    kept = {name: getattr(config.data, name) for name in ("obs", "test_share", "folds", "refit", "validation_share")}
    design = Assigned(
        stratified=True, control_cost=config.design.control_cost,
        obs_propensity_column=config.design.obs_propensity_column,
    )  # fmt: skip
    return config.model_copy(update={"data": Data(rct=trial, **kept), "columns": columns, "design": design})


def _judged(runs: tuple[Path, Path], config: Config, rows: Path, counts: tuple[int, int, int]) -> Updated:
    """Returns the comparison of the two on the rows that judge."""
    (_, first), (_, second) = open_run(runs[0]), open_run(runs[1])
    table, roles = frames.read(rows, text=config.roles("rct").text), config.roles("rct")
    logs, _ = frames.logs(table, roles, second.encoder, **trial_design(config))
    if config.columns.cost is None:
        logs = outcome_of(config, logs, None).with_cost(logs)
    menus = {}
    for name, policy in ((CHAMPION, first), (CHALLENGER, second)):
        assert policy.encoder is not None
        menus[name] = policy.model.predict(policy.encoder.transform(table))
    budgets = budgets_of_run(runs[0])
    bootstrap = Bootstrap(draws=config.run.draws, level=1 - _ALPHA / len(budgets), seed=config.run.seed)
    made = compare(logs, menus, budgets, reference=CHAMPION, bootstrap=bootstrap)
    at = made.index(CHALLENGER)
    verdicts = [
        Verdict.of(low, high) for low, high in zip(made.difference_low[at], made.difference_high[at], strict=True)
    ]
    better = Verdict.BETTER in verdicts and Verdict.WORSE not in verdicts
    done = Updated(runs[1], *counts, made, _sentence(made, at, verdicts, config), better)
    atomic_text(runs[1] / _MARKER, json_text(done.document))
    return done


def _sentence(made: Comparison, at: int, verdicts: list[Verdict], config: Config) -> str:
    """Returns what is shown at the budget where the difference is clearest, and what would show more."""
    width = (made.difference_high[at] - made.difference_low[at]) / 2
    known = np.isfinite(width)
    if not known.any():
        return "No difference is shown: at every budget, one of the two is out of reach."
    clear = np.where(known, np.abs(made.difference[at]) / np.maximum(width, 1e-300), -1.0)
    k = int(clear.argmax())
    budget, unit = _check.written(float(made.budgets[k]), 3), config.report.value_unit
    shown = interval(
        float(made.difference[at, k]), float(made.difference_low[at, k]), float(made.difference_high[at, k]), sign=True
    )
    spends = f"at a budget of {budget} {config.report.spend_unit}"
    difference = f"{spends} the challenger brings {shown} {unit} per {config.report.head}"
    how = f"beside the champion at equal spend, all {len(verdicts)} budgets together at {1 - _ALPHA:.0%}"
    if Verdict.WORSE in verdicts:
        return f"The challenger is worse: {difference}, {how}. Do not serve it."
    if Verdict.BETTER in verdicts:
        return f"The challenger is better: {difference}, {how}."
    if clear[k] < _ALIKE:
        return f"No difference is shown: {difference}, {how}. The two decide nearly alike, or the rows are too few to tell."
    rows = (1 / clear[k]) ** 2
    return (
        f"No difference is shown: {difference}, {how}. If it is of this size, about {count(rows)} times as many decisions "
        "to judge would show it: wait, or explore more."
    )
