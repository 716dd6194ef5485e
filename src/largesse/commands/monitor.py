"""`monitor`: the signals of a campaign in service."""

from __future__ import annotations

from pathlib import Path

from largesse.config import load
from largesse.serving import Ledger
from largesse.serving.watch.lookup import deciding_run, named_campaign
from largesse.serving.watch.monitored import Monitored, monitor

__all__ = ["monitor_campaign"]


def monitor_campaign(
    store: str, *, campaign: str | None = None, run: Path | None = None, value_per_unit: float | None = None,
    tolerance: float = 0.25, oldest: float = 90.0,
) -> Monitored:  # fmt: skip
    """Returns the signals of a campaign.

    Args:
        store: Address of the ledger.
        campaign: Its name; None: the only one in the ledger.
        run: Folder of the run that decides; None: where the ledger says, if it is there.
        value_per_unit: What one unit of value brings in money; None: as the run says, if its folder is there.
        tolerance: As in `largesse.serving.watch`.
        oldest: As there.

    Raises:
        DataError: There is no such campaign, or several and none is named, or a number is out of its range.
        StoreError: The store or the run's folder cannot be used.
    """
    with Ledger.open(store, create=False) as ledger:
        name = named_campaign(ledger, campaign)
        place = deciding_run(ledger, name) if run is None else run
        if value_per_unit is None and place is not None and (place / "config.toml").is_file():
            value_per_unit = load(place / "config.toml").outcome.unit_value
        return monitor(ledger, name, run=place, value_per_unit=value_per_unit, tolerance=tolerance, oldest=oldest)
