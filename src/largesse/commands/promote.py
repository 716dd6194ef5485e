"""`promote`: raises, promotes or ends the challenger of a campaign, on evidence that is valid however often one looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from largesse import _check
from largesse.errors import DataError
from largesse.report.numbers import count, interval, percent
from largesse.serving import Ledger, monitor
from largesse.serving.http.challengers import put_challenger, remove_challenger, same_features
from largesse.serving.http.menus import Loaded, load_run, same_menu
from largesse.serving.http.service import put_run
from largesse.serving.increments import best_treatments
from largesse.serving.ledger.accounts import terms_of
from largesse.serving.ledger.changes import CHALLENGER, RUN, Change, changes, reason
from largesse.serving.ledger.log import row_of
from largesse.serving.ledger.store import reading
from largesse.serving.ledger.tables import challengers, served
from largesse.serving.watch.gate import Gate, Gated
from largesse.serving.watch.lookup import expected_decisions, named_campaign
from largesse.serving.watch.reading import Decisions, read_log_with_features

__all__ = ["Promoted", "history", "promote"]

Action = Literal["promoted", "ended", "raised", "waiting"]
_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5)
_LEAST_STEP = 1.2  # a share that is raised by less stays
_SETTLED = 60.0  # seconds after which every worker knows of a change
_DRAWN = (RUN, "explore", "mix", "exploration", "mix_share")  # what changes the probabilities beside the challenger
_SURPRISE = 5.0  # standard errors by which its realised share may differ from the one that it was given
Floats = NDArray[np.float64]


class Promoted(NamedTuple):
    """What was done with a challenger, and why.

    Attributes:
        campaign: Name of the campaign.
        champion: Version of the run that decided.
        challenger: Version of the run that is tried.
        action: "promoted": it decides now; "ended": it is tried no longer; "raised": it decides for more units; "waiting".
        sentence: Why.
        share_before: Share of the units that it decided.
        share_after: Share that it decides from now on; 1 if it is promoted.
        evidence: What is known of the two.
        done: False with a dry run: nothing was changed.
    """

    campaign: str
    champion: str
    challenger: str
    action: Action
    sentence: str
    share_before: float
    share_after: float
    evidence: Gated
    done: bool

    @property
    def document(self) -> dict[str, Any]:
        """The content of the JSON document."""
        return self._asdict() | {"evidence": self.evidence._asdict()}


def history(store: str, campaign: str | None = None) -> list[Change]:
    """Returns the journal of a campaign, oldest first.

    Raises:
        LargesseError: The store cannot be used, or there is no such campaign.
    """
    with Ledger.open(store, create=False) as ledger:
        return changes(ledger, named_campaign(ledger, campaign))


def promote(
    store: str,
    *,
    campaign: str | None = None,
    margin: float = 0.0,
    loss: float = 0.01,
    dry_run: bool = False,
    by: str = "",
) -> Promoted:
    """Looks at the evidence about the challenger of a campaign, and does what it supports. Run it as often as you like.

    It is promoted where the interval of its difference from the champion, at equal spend, excludes every loss beyond the
    margin; ended where it excludes every gain, or where what it brings is not what it predicts; meanwhile its share is raised as
    far as the worst that the evidence allows costs at most `loss`. Nothing is done while assignments do not agree with their
    propensities.

    Args:
        store: Address of the ledger.
        campaign: Name of the campaign; None: the only one.
        margin: Part of the champion's value by which the challenger may be worse and is promoted all the same, in [0, 0.5].
        loss: Part of the champion's value that challenger and exploration together may cost, in [0, 0.5].
        dry_run: Whether nothing is changed.
        by: Who does it, for the journal; "": not named.

    Raises:
        DataError: There is no challenger, or its decisions have no features.
        StoreError: The store or a run cannot be used.
    """
    _check.number("--margin", margin, low=0, high=0.5)
    _check.number("--loss", loss, low=0, high=0.5)
    with Ledger.open(store, create=False) as ledger:
        name = named_campaign(ledger, campaign)
        ledger.status(name)  # or it is not in the ledger
        with reading(ledger.engine) as connection:
            deciding = connection.execute(sa.select(served).where(served.c.campaign == name)).first()
            tried = connection.execute(sa.select(challengers).where(challengers.c.campaign == name)).first()
        if deciding is None or tried is None:
            raise DataError.at(
                "--campaign", f" == {name!r}: no challenger is tried. Name one in the server's file, or by "
                "PUT /v1/campaigns/{name}/challenger.",
            )  # fmt: skip
        champion, challenger = load_run(Path(deciding.run)), load_run(Path(tried.run))
        same_menu(champion.policy.treatments, challenger.policy, name)
        same_features(champion, challenger, name)
        gate, realised = _evidence(ledger, name, champion, challenger, _trial(ledger, name, tried))
        evidence = gate.look(margin=margin, loss=loss)
        doubts = [
            one for one in monitor(ledger, name).alarms if one.group == "trust" or challenger.version in one.about
        ]
        trust = next((one for one in doubts if one.group == "trust"), None)
        action, why, share = _decided(evidence, tried.share, margin, loss)
        if doubt := realised.doubt():
            action, share, why = "waiting", tried.share, doubt
        elif trust is not None:
            action, share = "waiting", tried.share
            why = (
                f"{trust.name} is an alarm since {trust.first_bad_day}: until it is explained, nothing can be concluded"
            )
        elif doubts:
            wrong = doubts[0]
            action, share = "ended", 0.0
            why = f"{wrong.name}: {wrong.about} is an alarm since {wrong.first_bad_day}, so its plan is wrong"
        if not dry_run:
            _do(ledger, name, action, challenger, share, reason(why, by), deciding, tried)
        return Promoted(
            name, champion.version, challenger.version, action, why, tried.share, share, evidence, not dry_run
        )


class _Trial(NamedTuple):
    """When a challenger was tried on which share of the units, as it is tried now.

    Attributes:
        times: When each share began, increasing, (K,), in seconds since 1970 (UTC).
        shares: The shares, (K,).
    """

    times: Floats
    shares: Floats

    def at(self, time: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Returns the share at some times, and where it is sure: not before the trial, nor while workers learn of a change."""
        last = np.searchsorted(self.times, time, "right") - 1
        begun = np.maximum(last, 0)
        return self.shares[begun], (last >= 0) & (time >= self.times[begun] + _SETTLED)


def _trial(ledger: Ledger, campaign: str, tried: Any) -> _Trial:
    """Returns the trial of the challenger since the last change of what decides beside it, or how units are drawn."""
    times, shares, version, begun = list[float](), list[float](), None, 0.0
    for one in changes(ledger, campaign):
        if one.field == CHALLENGER:
            after = one.after or {}
            if after.get("version") != version:
                times, shares, version = [], [], after.get("version")
            times.append(one.time)
            shares.append(float(after.get("share") or 0.0))
        elif one.field in _DRAWN:
            begun = one.time
    if version != tried.version or not times:
        times, shares = [float(tried.changed)], [float(tried.share)]
    order = np.argsort(times, kind="stable")  # a clock may be set back
    return _Trial(np.maximum(np.array(times)[order], begun), np.array(shares)[order])


class _Realised:
    """How many units the challenger decided, beside its share."""

    def __init__(self) -> None:
        self.decided = self.expected = self.variance = self.n = 0.0
        self.periods: set[int] = set()

    def add(self, mine: NDArray[np.bool_], share: Floats, period: NDArray[np.int64]) -> None:
        self.decided, self.expected, self.n = self.decided + mine.sum(), self.expected + share.sum(), self.n + len(mine)
        self.variance += (share * (1 - share)).sum()
        self.periods |= set(np.unique(period).tolist())

    def doubt(self) -> str:
        """Returns why nothing can be concluded; "" where the share is what it should be."""
        often = max(1, len(self.periods))  # a unit is drawn alike in every period
        off = abs(self.decided - self.expected)
        if off <= _SURPRISE * np.sqrt(often * self.variance) + 0.5:
            return ""
        return (
            f"the challenger decided {percent(self.decided / self.n, decimals=1)} of {count(int(self.n))} decisions, and "
            f"{percent(self.expected / self.n, decimals=1)} were its share: some workers may not have it; see the server's log"
        )


def _evidence(
    ledger: Ledger, campaign: str, champion: Loaded, challenger: Loaded, trial: _Trial
) -> tuple[Gate, _Realised]:
    """Returns the evidence of the matured decisions of a trial, and how many the challenger decided."""
    now, row = ledger.clock(), row_of(ledger, campaign)
    terms = terms_of(row.settings)
    own = terms.campaign
    explored, draws = (1 - own.holdout) * own.explore, own.drawn()
    gate = Gate(
        draws.mix, explored, expected_decisions(ledger, row, own), draws=draws if own.exploration != "mix" else None,
        decided=(1 - own.holdout) * (1 - own.explore),
    )  # fmt: skip
    stored, versions, realised = False, list[str](), _Realised()
    for part, texts in read_log_with_features(ledger, row, terms, versions):
        known = np.array([text is not None for text in texts])
        stored = stored or bool(known.any())
        share, sure = trial.at(part.time)
        used = known & sure & (part.due <= now) & part.modelled & ~part.limited
        if used.any():
            rows, own_version = (
                part.where(used),
                versions.index(challenger.version) if challenger.version in versions else -1,
            )
            realised.add(rows.version == own_version, share[used], rows.period)
            cells = [
                json.loads(text) for text, use in zip(texts, used.tolist(), strict=True) if use and text is not None
            ]
            gate.add(rows, _given(champion, cells, rows), _given(challenger, cells, rows), share[used])
    if row.decided and not stored:
        raise DataError.at(
            "--campaign", f" == {campaign!r}: no features are stored with its decisions, so it is not known what the challenger "
            "would have decided. Serve with features = true.",
        )  # fmt: skip
    return gate, realised


def _given(run: Loaded, cells: list[dict[str, Any]], rows: Decisions) -> Any:
    """Returns the treatment that a run gives each unit at the price of its decision, among those that it could get."""
    value, cost = run.tables(run.feed([run.row(one) for one in cells]))
    return best_treatments(value, np.where(rows.propensities > 0, cost, np.inf), rows.price)


def _decided(evidence: Gated, share: float, margin: float, loss: float) -> tuple[Action, str, float]:
    """Returns what the evidence supports, why, and the share from now on."""
    if evidence.difference is None or evidence.low is None or evidence.high is None:
        return "waiting", f"it is too early: {count(evidence.decisions)} decisions of its time have matured", share
    shown = interval(evidence.difference, evidence.low, evidence.high, sign=True)
    evidence_words = f"challenger less champion at equal spend {shown} per unit, {count(evidence.decisions)} decisions"
    if evidence.verdict == "better":
        beyond = f" (a loss of {percent(margin)} is allowed)" if margin else ""
        return "promoted", f"it is better{beyond}: {evidence_words}", 1.0
    if evidence.verdict == "worse":
        return "ended", f"it is worse: {evidence_words}", 0.0
    step = next((one for one in _STEPS if one > share), _STEPS[-1])
    most = min(step, evidence.most)
    if most >= share * _LEAST_STEP and share > 0:
        return (
            "raised",
            f"at the worst that is possible it costs {percent(loss)} of the value with this share: {evidence_words}",
            most,
        )
    return "waiting", f"no difference is shown yet: {evidence_words}", share


def _do(
    ledger: Ledger, campaign: str, action: Action, challenger: Loaded, share: float, words: dict[str, str], deciding: Any,
    tried: Any,
) -> None:  # fmt: skip
    now = ledger.clock()
    if action == "promoted":
        put_run(ledger.engine, campaign, challenger, features=bool(deciding.features), now=now, **words)
        remove_challenger(ledger.engine, campaign, now=now, **(words | {"why": "promoted"}))
    elif action == "ended":
        remove_challenger(ledger.engine, campaign, now=now, **words)
    elif action == "raised":
        put_challenger(ledger.engine, campaign, challenger, share=share, shadow=bool(tried.shadow), now=now, **words)
