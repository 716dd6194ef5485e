"""`erase`, `verify-log`, `decisions export`, `replay` and `shadow`: what is done with the log of a ledger from a terminal."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from largesse import _check
from largesse._files import atomic_file
from largesse.errors import DataError, StoreError
from largesse.serving import Ledger, Verification, trial_rows
from largesse.serving.ledger.log import NOT_FEATURES

if TYPE_CHECKING:
    from largesse.serving.ledger.replaying import Replayed

__all__ = ["ExportedRows", "erase_unit", "export_decisions", "replay_decisions", "shadowed_decisions", "verify_log"]


class ExportedRows(NamedTuple):
    """A trial that was written.

    Attributes:
        rows: Number of decisions in it.
        left_out: Decisions that are too young, or that the budget limited.
        control: Name of control.
        treatments: Names of the treatments, control first.
        features: Columns of features.
    """

    rows: int
    left_out: int
    control: str
    treatments: tuple[str, ...]
    features: tuple[str, ...]

    def campaign(self, path: Path) -> str:
        """Returns the fields of campaign.toml that read the file."""
        labels = json.dumps(list(self.treatments), ensure_ascii=False)
        ignored = [name for name in NOT_FEATURES if name not in ("unit", "treatment", "propensity", "value", "cost")]
        return (
            f"[data]\nrct = {json.dumps(str(path), ensure_ascii=False)}\n[columns]\n"
            'treatment = "treatment"\nvalue = "value"\ncost = "cost"\npropensity = "propensity"\nunit = "unit"\n'
            f"ignore = {json.dumps(ignored)}\ntreatments = {labels}\n[design]\nstratified = true\n"
        )


def erase_unit(store: str, unit: str) -> int:
    """Erases a unit from a ledger; returns the number of its decisions.

    Raises:
        LargesseError: The store cannot be used, or the id is not valid.
    """
    with Ledger.open(store, create=False) as ledger:
        return ledger.erase(unit)


def verify_log(store: str, earlier: Path | None) -> Verification:
    """Verifies the log of a ledger.

    Args:
        store: Address of the ledger.
        earlier: What `verify-log --json` printed earlier; None: nothing to compare with.

    Raises:
        LargesseError: The store or the file cannot be used.
    """
    before = {} if earlier is None else _earlier(earlier)
    with Ledger.open(store, create=False) as ledger:
        return ledger.verify(earlier=before)


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    remedy = "Give what `largesse verify-log --json` printed."
    try:
        logs = json.loads(path.read_text(encoding="utf-8"))["logs"]
        return {str(name): {**log} for name, log in logs.items()}
    except OSError as error:
        raise StoreError(f"--earlier: {path} cannot be read ({error.strerror}). {remedy}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _check.refuse("--earlier", str(path), "is no earlier verification", remedy) from None


def export_decisions(store: str, campaign: str, output: Path) -> ExportedRows:
    """Writes the matured decisions of a campaign as a Parquet file, whole or not at all.

    Args:
        store: Address of the ledger.
        campaign: Name of the campaign.
        output: The file to write; an older one is replaced.

    Raises:
        DataError: The campaign is not in the ledger, or no decision of it has matured.
        StoreError: The store or the file cannot be used.
    """
    import pyarrow.parquet as pq

    if output.suffix != ".parquet":
        raise _check.refuse("--output", str(output), "must end in .parquet", "Rows are written as Parquet.")
    with Ledger.open(store, create=False) as ledger:
        status, batches = ledger.status(campaign), trial_rows(ledger, campaign)
        if (first := next(batches, None)) is None:
            raise DataError.at(
                "--campaign",
                f" == {campaign!r}: none of its {status.decided:,} decisions has matured within the budget. Export later.",
            )
        rows = 0
        with atomic_file(output) as path, pq.ParquetWriter(path, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)
                rows += batch.num_rows
        treatments = ledger.treatments(campaign)
    features = tuple(first.schema.names[len(NOT_FEATURES) :])
    return ExportedRows(rows, status.decided - rows, treatments[0], treatments, features)


def replay_decisions(store: str, campaign: str, run: Path, price: float | None = None) -> Replayed:
    """Returns what another run would have decided for the units of a campaign.

    Args:
        store: Address of the ledger.
        campaign: Name of the campaign.
        run: The other run, with its ONNX form.
        price: Shadow price λ for it; None: that of each decision.

    Raises:
        DataError: The campaign is not in the ledger, its decisions have no features, or the run has other treatments.
        StoreError: The store or the run cannot be used.
    """
    from largesse.serving.http.menus import load_run, same_menu
    from largesse.serving.ledger.replaying import replay

    at = None if price is None else _check.number("--price", price, low=0)
    loaded = load_run(run)
    with Ledger.open(store, create=False) as ledger:
        same_menu(ledger.treatments(campaign), loaded.policy, campaign)
        return replay(ledger, campaign, lambda rows: loaded.menus([loaded.row(one) for one in rows]), price=at)


def shadowed_decisions(store: str, campaign: str, version: str | None = None) -> Replayed:
    """Returns what a challenger that answered in the shadow would have decided.

    Args:
        store: Address of the ledger.
        campaign: Name of the campaign.
        version: Version of the challenger; None: the only one.

    Raises:
        DataError: The campaign is not in the ledger, or no such challenger has answered.
        StoreError: The store cannot be used.
    """
    from largesse.serving.ledger.shadowing import shadowed

    with Ledger.open(store, create=False) as ledger:
        return shadowed(ledger, campaign, version=version)
