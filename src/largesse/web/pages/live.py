"""The page Live: a campaign in service: is it on pace, does it pay, can that be believed, and what to do now."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from largesse.report.blocks import Badge, Bullets, Facts, Tone
from largesse.report.numbers import UNKNOWN, between, count, interval, number, percent, places
from largesse.web.opened import Studio
from largesse.web.pages.live_blocks import Names, campaign_blocks, date_of, days_of, money_of, time_of
from largesse.web.query import Query
from largesse.web.view import Action, Field, Heading, Reading, Shown, View
from largesse.web.words import words

if TYPE_CHECKING:
    from largesse.commands.studio.live import Now, Run, Watched

__all__ = ["PATH", "REFRESH", "act", "view"]

PATH = "/live"
_SOON = 3  # seconds until the page is read again where the signals are not there yet
REFRESH = 15
"""Seconds after which the page is read anew."""
_LINES = 20  # of the journal


def view(studio: Studio, query: Query) -> View:
    """Returns the page; it changes nothing.

    Raises:
        LargesseError: The store cannot be opened, or the campaign is not in it.
    """
    now = studio.live.now(query.text("campaign") or None)
    watched = studio.live.watched(now.status.campaign, patience=studio.live.patience) or _computing(now)
    names = Names(now)
    return View(
        headline=_headline(now, watched, names), badge=_badge(now, watched), summary=_summary(now, watched, names),
        action=_action(now, watched), readings=_readings(now, watched, names), moving=tuple(_first(now, watched)),
        fixed=tuple(campaign_blocks(now, watched, names)), fields=_fields(now), actions=_actions(now, watched),
        refresh=REFRESH if watched.seconds else _SOON,
        document=_document(now, watched),
    )  # fmt: skip


def _computing(now: Now) -> Watched:
    """Returns what stands for the signals until they are computed for the first time."""
    from largesse.commands.studio.live import Watched

    return Watched(None, words("live.computing"), (), None, words("live.computing"), now.at, 0.0)


def act(studio: Studio, query: Query) -> None:
    """Does what a button asks for.

    Raises:
        LargesseError: The campaign was changed since the page was shown, or what is asked for cannot be done.
    """
    what, _, stamp = query.text("act").partition(" ")
    studio.live.act(query.text("campaign"), what, stamp)


# ---- the answer


def _headline(now: Now, watched: Watched, names: Names) -> str:
    status, terms = now.status, now.terms
    money = f"{money_of(status.spent)} of {money_of(status.budget)} {names.money}"
    if not status.decided:
        return (
            f"No unit has been decided yet: {money_of(status.budget)} {names.money} are to be spent from {date_of(now.started)} "
            f"to {date_of(terms.until)}."
        )
    brings = _brings(watched, names)
    if now.at >= terms.until:
        return f"Over since {date_of(terms.until)}: {money} spent; {brings}."
    day, days = days_of(now)
    return (
        f"{_pace_words(now)}: {money} spent on day {day} of {days} (an even plan: {money_of(now.plan)}); {brings}."
    )  # fmt: skip


def _pace_words(now: Now) -> str:
    if now.pace.number is None:
        return "Too early to judge the pace"
    if now.pace.state != "alarm":
        return "On pace"
    return "Too fast" if now.pace.number > 0 else "Too slow"


def _brings(watched: Watched, names: Names) -> str:
    """Returns what the campaign brings beyond its holdout, as the end of a sentence."""
    from largesse.commands.findings.monitor import lift_of

    if watched.monitored is None:
        return "what it brings is not known yet"
    lift = lift_of(watched.monitored)
    if lift is None:
        return "without a holdout, nothing says what it brings"
    if lift.number is None or lift.low is None or lift.high is None:
        return f"it is too early to say what it brings, {count(lift.rests_on)} decisions have matured"
    shown = number(lift.number, decimals=places([(lift.high - lift.low) / 2]), sign=True)
    ends = f"({between(lift.low, lift.high, sign=True)}, valid on every day)"
    if lift.name.startswith("net"):
        return f"it leaves {shown} {names.money} per {names.head} after its cost, beyond the holdout {ends}"
    return f"it brings {shown} {names.value} per {names.head} beyond the holdout {ends}"


def _badge(now: Now, watched: Watched) -> Badge:
    alarms = () if watched.monitored is None else watched.monitored.alarms
    if watched.monitored is None:
        return Badge("not watched", Tone.BAD) if watched.seconds else Badge("computing", Tone.NONE)
    if alarms:
        return Badge(f"{len(alarms)} alarm{'s' * (len(alarms) > 1)}", Tone.BAD)
    if now.at >= now.terms.until:
        return Badge("over", Tone.NONE)
    return Badge("no alarm", Tone.GOOD) if now.status.decided else Badge("not begun", Tone.NONE)


def _summary(now: Now, watched: Watched, names: Names) -> tuple[str, ...]:
    out, status = [], now.status
    if now.decides is not None:
        tried = (
            "" if now.tried is None else f"; {now.tried.version} is tried on {percent(now.tried.share)} of the units"
        )
        out.append(f"{now.decides.version} decides since {time_of(now.decides.since)} UTC{tried}.")
    elif status.decided:
        out.append("No run is served here: menus come from a program of your own, through the ledger.")
    if status.reserved:
        out.append(
            f"Of {money_of(status.reserved)} {names.money} reserved, {money_of(min(status.expected, status.reserved))} are "
            "expected to be paid; the pace counts on that."
        )
    if status.budget_of is not None and status.joint_budget is not None:
        others = ", ".join(one for one in now.sharers if one != status.campaign) or "no other campaign"
        out.append(
            f"The budget is its part, at this moment, of the joint budget {status.budget_of!r} of "
            f"{money_of(status.joint_budget)} {names.money}, which it shares with {others}."
        )
    if watched.monitored is not None:
        rate = percent(1 - watched.monitored.false_alarm_rate)
        out.append(
            f"Money and counts are of this moment; signals and intervals are of {time_of(watched.at)} UTC. "
            f"With {rate} probability all intervals are right on all days together, so you may look as often as you like."
        )
    return tuple(out)


def _action(now: Now, watched: Watched) -> str:
    from largesse.commands.findings.monitor import headline

    if watched.monitored is None:
        return f"{watched.problem} Until then, nothing watches this campaign." if watched.seconds else watched.problem
    if watched.monitored.alarms:
        return headline(watched.monitored).action
    if not now.status.decided:
        return "Send the first units to the server; numbers appear here by themselves."
    if (planned := watched.planned) is not None and planned.action != "waiting" and now.at < now.terms.until:
        return f"{_would(planned)} Press the button below if you agree."
    return "Nothing: no signal is an alarm."


# ---- numbers


def _readings(now: Now, watched: Watched, names: Names) -> tuple[Reading, ...]:
    status, (day, days) = now.status, days_of(now)
    over = now.at >= now.terms.until
    share = percent(status.spent / status.budget) if status.budget else UNKNOWN
    limited = f"{count(status.limited)} limited by the budget"
    until = f"ended {date_of(now.terms.until)}" if over else f"until {date_of(now.terms.until)}"
    shown = [
        Reading(f"Budget, {names.money}", money_of(status.budget)),
        Reading(f"Spent, {names.money}", money_of(status.spent), share),
        Reading(
            f"Reserved, {names.money}", money_of(status.reserved), f"{money_of(status.expected)} expected to be paid"
        ),
        Reading(f"Left, {names.money}", money_of(status.left)),
        Reading("Day", f"{day} of {days}", until),
        Reading("Decisions", count(status.decided), limited),
        Reading(f"Shadow price, {names.price}", number(status.price), "what money must bring at least"),
    ]
    if status.beyond:
        shown.append(
            Reading(
                f"Paid beyond reservations, {names.money}",
                money_of(status.beyond),
                "decisions cost more than was predicted",
            )
        )
    return tuple(shown)


# ---- what comes first: alarms and the challenger


def _first(now: Now, watched: Watched) -> list[Shown]:
    from largesse.commands.findings.monitor import steps

    out: list[Shown] = []
    if watched.monitored is not None and watched.monitored.alarms:
        out += [Heading("alarms", words("live.alarms")), Bullets(steps(watched.monitored))]
    if now.tried is not None:
        out += [Heading("challenger", words("live.challenger")), _challenger(now.tried, watched)]
    return out


def _challenger(tried: Run, watched: Watched) -> Facts:
    shadow = ", its answers to the others are stored" if tried.shadow else ""
    facts = [
        ("Tried", f"{tried.version} on {percent(tried.share)} of the units since {time_of(tried.since)} UTC{shadow}")
    ]
    planned = watched.planned
    if planned is None:
        return Facts((*facts, ("Evidence", watched.no_plan)))
    known, facts_of = planned.evidence, list[tuple[str, str]]()
    if known.difference is not None and known.low is not None and known.high is not None:
        shown = interval(known.difference, known.low, known.high, sign=True)
        facts_of.append(
            ("Challenger less champion, per unit at equal spend", f"{shown}, valid however often one looks")
        )
    facts_of.append(("Decisions that count", count(known.decisions)))
    return Facts((*facts, *facts_of, ("What the evidence supports", _would(planned)), ("Why", f"{planned.sentence}.")))


def _would(planned: Any) -> str:
    what = {
        "promoted": f"{planned.challenger} should decide for all units.",
        "ended": f"{planned.challenger} should be tried no longer.",
        "raised": (
            f"{planned.challenger} may decide {percent(planned.share_after)} of the units instead of "
            f"{percent(planned.share_before)}."
        ),
        "waiting": "Wait: nothing is to be changed yet.",
    }
    return what[planned.action]


def _actions(now: Now, watched: Watched) -> tuple[Action, ...]:
    if now.at >= now.terms.until:
        return ()
    from largesse.commands.studio.live import BACK, DO, END

    campaign, out = now.status.campaign, []

    def button(what: str, label: str, confirm: str) -> Action:
        return Action(
            address=PATH, label=label, confirm=confirm, fields={"campaign": campaign, "act": f"{what} {now.stamp}"}
        )  # fmt: skip

    if (planned := watched.planned) is not None and planned.action != "waiting":
        confirm = f"{_would(planned)} The evidence is looked at once more; what it supports then is done."
        out.append(button(DO, words("live.do"), confirm))
    if now.tried is not None:
        confirm = f"{now.tried.version} decides for no unit from now on; its decisions so far stay as they are."
        out.append(button(END, words("live.end", version=now.tried.version), confirm))
    if now.before is not None and now.before.here and now.decides is not None:
        confirm = f"{now.before.version} decides again instead of {now.decides.version}, within seconds. Decisions so far stay."
        out.append(button(BACK, words("live.back", version=now.before.version), confirm))
    return tuple(out)


# ---- its fields, and its numbers for programs


def _fields(now: Now) -> tuple[Field, ...]:
    if len(now.names) < 2:
        return ()
    options = tuple((name, name) for name in now.names)
    return (
        Field(name="campaign", label=words("live.campaign"), value=now.status.campaign, kind="choice", options=options),
    )


def _document(now: Now, watched: Watched) -> dict[str, Any]:
    from largesse.commands.findings.monitor import document

    def run(one: Run | None) -> dict[str, Any] | None:
        return None if one is None else {**one._asdict(), "place": str(one.place)}

    return {
        "campaign": now.status.campaign, "at": now.at, "status": now.status._asdict(), "plan": now.plan,
        "shares_budget_with": list(now.sharers), "decides": run(now.decides), "tried": run(now.tried), "before": run(now.before),
        "looked_at": watched.at, "monitor": None if watched.monitored is None else document(watched.monitored),
        "lift_by_day": {} if watched.monitored is None else {
            date: [look.estimate, look.lower, look.upper]
            for date, look in watched.monitored.day_lift.items() if isfinite(look.estimate + look.lower + look.upper)
        },
        "promote": None if watched.planned is None else watched.planned.document,
        "journal": [one._asdict() for one in now.journal[-_LINES:]],
    }  # fmt: skip
