"""The demonstration: simulated coupons whose truth is known, and Thornton's trial of cash offers, on one page."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from largesse import datasets, frames, report
from largesse._extras import installed
from largesse._files import atomic_folder, may_write
from largesse._workers import Workers, cores
from largesse.commands import demo_coupons as coupons
from largesse.commands.demo_coupons import Size
from largesse.commands.fit import Run, fit
from largesse.commands.processes import begin
from largesse.commands.proof import modules_for
from largesse.config import Config
from largesse.errors import MissingDependency
from largesse.models.registry import default_names
from largesse.progress import Say
from largesse.report.blocks import Section, Text
from largesse.report.campaigns import campaign
from largesse.report.envelope import Envelope, envelope_blocks, envelope_sentence
from largesse.report.files import write_report
from largesse.result import Brief, json_text, plain

__all__ = ["CAUTION", "STORY", "Demo", "Size", "cash", "make"]

CAUTION = (
    "Offers were drawn within villages, and the shares of the levels differ between them (chi-square p < 1e-14). The "
    "evaluation uses the shares of the whole trial; weighting within villages instead moves the arms' means by up to 0.02. "
    "The village is therefore no feature here."
)

STORY = (
    "Two campaigns, one page. First coupons in a simulated shop: largesse decides and proves, then the truth is opened.\n"
    "Then a real trial (Malawi 2004, Thornton 2008): 2,834 people were offered between nothing and 3 USD, at random, to\n"
    "collect the result of a test."
)
CASH = (
    "Real data. Malawi, 2004: 2,834 people were offered between nothing and 3 USD, at random, to collect the result of a test "
    "(Thornton 2008). Cash is the treatment, a collected result the value, and the offer is paid on collection. Who should be "
    "offered how much, if the budget is smaller? Nobody knows the truth here: the trial itself is the only evidence."
)
_MARKER = "report.html"
_COUPONS = 0.5  # share of the time


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Demo(Brief):
    """The finished demonstration.

    Attributes:
        folder: Holds report.html, and the run folders `coupons` and `cash`.
        headline: The first paragraph of the page.
        coupons: The simulated campaign.
        envelope: The truth about it.
        cash: The real trial; None where its package is missing.
    """

    folder: Path
    headline: report.Headline
    coupons: Run
    envelope: Envelope
    cash: Run | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the results as plain JSON values."""
        real = None if self.cash is None else self.cash.metrics
        truth = plain({"budget": self.envelope.budget, "units": self.envelope.units, "rows": [
            {name: getattr(row, name) for name in ("kind", "net", "estimate", "low", "high", "promise", "covered")}
            for row in self.envelope.rows
        ]})  # fmt: skip
        return {"headline": self.headline.sentence, "coupons": self.coupons.metrics, "envelope": truth, "cash": real}


def make(folder: Path, say: Say, *, size: Size | None = None) -> Demo:
    """Returns the finished demonstration; its folder is written whole or not at all.

    Args:
        folder: Made, or replaced if a demonstration made it.
        say: Called with each stage and the share of the work that is done.
        size: Rows of the simulated campaign; None: those of the demonstration.
    """
    may_write(folder, replace=True, marker=_MARKER)
    drawn = size or Size()
    # The processes of each fit import its packages while this one draws the rows, or opens the envelope.
    begin()
    with atomic_folder(folder, replace=True, marker=_MARKER) as place:
        world = coupons.world_of(drawn)
        decided = coupons.decide(world, drawn, place / "coupons", _part(say, "coupons", 0.0, _COUPONS - 0.1))
        say("opening the envelope", _COUPONS - 0.1)
        if installed("causaldata"):
            Workers(cores(), modules_for(default_names(False, False), both=False))
        truth = coupons.open_envelope(decided, world, drawn)
        real = cash(place / "cash", _part(say, "cash", _COUPONS, 1.0)) if installed("causaldata") else None
        headline = _headline(decided, truth, real)
        write_report(headline, _sections(decided, truth, real), {}, place)
        done = Demo(folder, headline, decided, truth, real)
        (place / "metrics.json").write_text(json_text(done.to_dict()), encoding="utf-8")
    say("done", 1.0)
    moved = None if real is None else changed(real, folder=folder / "cash")
    return changed(done, coupons=changed(decided, folder=folder / "coupons"), cash=moved)


def _part(say: Say, name: str, start: float, end: float) -> Say:
    """Returns the callback of a part of the work; notes and the end of the part are left to the page."""

    def inner(stage: str, share: float) -> None:
        if type(stage) is str and share < 1.0:
            say(f"{name}: {stage}", start + (end - start) * share)

    return inner


def _headline(decided: Run, truth: Envelope, real: Run | None) -> report.Headline:
    summary = [
        "largesse decides who gets which incentive under a budget, from a trial in which incentives were given at random, and "
        "proves whether it pays. This page shows it twice. The coupons are simulated: after the decision, the truth that was "
        "kept from it is opened, so you can see whether the proof was right.",
        f"Coupons: {decided.results.headline.sentence}",
    ]
    if real is not None:
        summary.append(f"Cash, a real trial: {real.results.headline.sentence} {real.results.headline.action}")
    return report.Headline(
        title="largesse: who gets which incentive, and does it pay?",
        sentence=f"Coupons, simulated. {envelope_sentence(truth, 'EUR per customer')}",
        summary=tuple(summary),
        action="Write a configuration for your own trial with `largesse init campaign.toml`, then `largesse fit campaign.toml`.",
    )


def _sections(decided: Run, truth: Envelope, real: Run | None) -> list[Section]:
    first = campaign(
        decided.results, key="coupons", title="Coupons: what to do (simulated)", story=coupons.STORY, short="Coupons"
    )
    opened = envelope_blocks(truth, money="EUR", head="customer", level=decided.results.level)
    proof = [part for part in first if part.anchor in _DECISION]
    rest = [part for part in first if part.anchor not in _DECISION]
    parts = [*proof, Section("envelope", "Coupons: the sealed envelope", opened), *rest]
    if real is None:
        why = MissingDependency("causaldata", "demo", "the real trial of cash offers")
        return [*parts, Section("cash", "Cash: what to do (a real trial)", [Text(CASH), Text(f"Left out: {why}.")])]
    return parts + campaign(real.results, key="cash", title="Cash: what to do (a real trial)", story=CASH, short="Cash")


_DECISION = ("coupons", "coupons-pay", "coupons-curve", "coupons-mix")
"""The sections before the envelope; the others follow it, for who wants the details."""


def cash(folder: Path, say: Say) -> Run:
    """Returns the finished run on the real trial."""
    trial = datasets.thornton()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "thornton.parquet"
        frames.write(trial.table, path)
        config = Config.model_validate(
            {
                "data": {"rct": str(path)},
                "columns": {
                    "treatment": trial.treatment, "value": trial.value, "cost": trial.cost,
                    "features": ["distance", "age"], "treatments": list(trial.treatments),
                },
                "outcome": {"cost": "per_redemption", "amounts": offers(trial), "ordered": True},
                "budget": {"shares": [0.2, 0.4, 0.6, 0.8]},
                "report": {"title": "Cash for collecting a test result (Thornton's trial)", "value_unit": "results collected",
                           "money_unit": "USD", "head": "person"},
            }
        )  # fmt: skip
        return fit(config, folder=folder, replace=True, say=say, cautions=(CAUTION,))


def offers(trial: datasets.Dataset) -> dict[str, float]:
    """Returns the mean offer of each level among those who collected: the face value of the level."""
    level, paid, collected = (trial.table[name].to_numpy() for name in (trial.treatment, trial.cost, trial.value))
    sums = {name: (paid[level == name].sum(), collected[level == name].sum()) for name in trial.treatments}
    return {name: float(paid / people) for name, (paid, people) in sums.items()}
