"""The form of the page Rules: the parameters of an address as rules, and rules as fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

from largesse.commands.studio.rules import UnitRules, joined
from largesse.config.rules import Bounds, CountRule, NotForRule, ReturnRule, RulesFile
from largesse.errors import DataError
from largesse.web.query import Query
from largesse.web.view import Field
from largesse.web.words import words

__all__ = ["Exclusion", "canonical", "exclusions", "form_fields", "rules_of_query"]

_TREATMENTS = 12  # with fields of their own
_TEXT = "rules"


class Exclusion(NamedTuple):
    """A treatment that the units of a group may not get; in an address, its parts are joined by ``;``."""

    treatment: str
    column: str
    group: str

    @property
    def text(self) -> str:
        """The form in an address."""
        return ";".join(quote(part, safe=" ") for part in self)

    @classmethod
    def of(cls, text: str) -> Exclusion:
        """Returns the exclusion of an address.

        Raises:
            DataError: It has not three parts.
        """
        parts = [unquote(part) for part in text.split(";")]
        if len(parts) != 3:
            raise DataError.at("not", f" == {text!r}: must be treatment;column;group. Choose them on the page.")
        return cls(*parts)


def exclusions(query: Query, rules: UnitRules) -> tuple[Exclusion, ...]:
    """Returns the exclusions of an address, and the one that is chosen in the form if it is whole."""
    out = [Exclusion.of(text) for text in query.all("not")]
    column = query.text("not.column")
    new = Exclusion(query.text("not.treatment"), column, query.text("not.group"))
    if all(new) and new.group in rules.groups.get(column, ()):
        out.append(new)
    return tuple(dict.fromkeys(out))


def canonical(query: Query, kept: Sequence[Exclusion]) -> Query:
    """Returns an address with these exclusions, and none that is still being chosen."""
    own = [pair for pair in query.pairs if pair[0] not in ("not", "not.treatment", "not.group")]
    return Query([*own, *(("not", one.text) for one in kept)])


def rules_of_query(query: Query, rules: UnitRules) -> RulesFile:
    """Returns all rules of an address: those that the run was proven under, those of the text, and those of the fields.

    Raises:
        LargesseError: A field or the text breaks a rule.
    """
    treatments = rules.units.menu.treatments
    files = [rules.own] if rules.own is not None and query.text("own") != "no" else []
    if text := query.text(_TEXT):
        files.append(RulesFile.parse(text, words("rules.text")))
    return joined([*files, _of_fields(query, rules, treatments)], treatments)


def _of_fields(query: Query, rules: UnitRules, treatments: tuple[str, ...]) -> RulesFile:
    counts = []
    for name in treatments:
        most, least = (query.optional(f"{end}.{quote(name)}") for end in ("most", "least"))
        if most is not None or least is not None:
            counts.append(CountRule(treatment=name, at_most=most, at_least=least))
    by = query.text("by")
    amounts = {name: query.optional(f"group.{quote(name)}") for name in rules.groups.get(by, ())}
    limits = {name: amount for name, amount in amounts.items() if amount is not None}
    back = query.optional("back")
    return RulesFile().model_copy(update={
        "count": tuple(counts), "spend": (Bounds(by=by, at_most=limits),) if limits else (),
        "return_": () if back is None else (ReturnRule(at_least=back),),
        "not_for": tuple(NotForRule(treatment=one.treatment, column=one.column, values=(one.group,))
                         for one in exclusions(query, rules)),
        "eligible": query.text("eligible") or None, "keep": query.text("kept") or None,
    })  # fmt: skip


# ---- fields


def form_fields(query: Query, rules: UnitRules, *, money: str, value: str, head: str, pays: str) -> tuple[Field, ...]:
    """Returns the fields of the rules; what is entered in them is kept as it is, even where it breaks a rule.

    Args:
        query: The address.
        rules: The units.
        money: Unit of money.
        value: Unit of value.
        head: What one unit is.
        pays: What is known of the return that pays, as a sentence; "": nothing.
    """
    return (
        *_own(query, rules), *_counts(query, rules, head), *_groups(query, rules, money), *_exclusions(query, rules, head),
        _heading("rules.more", _set(query, "back", _TEXT)),
        Field(
            name="back", label=words("rules.back", money=money, value=value), value=query.text("back"), help=pays,
        ),
        Field(
            name=_TEXT, label=words("rules.text.label"), value=query.text(_TEXT), kind="area", rows=7,
            help=words("rules.text.help"),
        ),
    )  # fmt: skip


def _heading(key: str, is_open: bool, **filled: object) -> Field:
    return Field(
        name=key, label=words(key, **filled), value="open" if is_open else "", kind="heading", help=words(f"{key}.help")
    )


def _set(query: Query, *names: str) -> bool:
    """Returns whether an address sets a parameter of one of these names, or of a name that begins with one and a dot."""
    return any(key == name or key.startswith(f"{name}.") for key, _ in query.pairs for name in names)


def _own(query: Query, rules: UnitRules) -> tuple[Field, ...]:
    if rules.own is None:
        return ()
    options = (("", words("rules.own.yes")), ("no", words("rules.own.no")))
    chosen = "no" if query.text("own") == "no" else ""
    return (Field(name="own", label=words("rules.own"), value=chosen, kind="choice", options=options),)


def _counts(query: Query, rules: UnitRules, head: str) -> tuple[Field, ...]:
    names, fields = rules.units.menu.treatments[1 : _TREATMENTS + 1], list[Field]()
    for end in ("most", "least"):
        fields.append(_heading(f"rules.{end}", _set(query, end), head=head))
        for name in names:
            key = f"{end}.{quote(name)}"
            label = words(f"rules.{end}.one", head=head, treatment=name)
            fields.append(Field(name=key, label=label, value=query.text(key)))
    return tuple(fields)


def _groups(query: Query, rules: UnitRules, money: str) -> tuple[Field, ...]:
    if not rules.groups:
        return ()
    by = query.text("by")
    return (
        _heading("rules.groups", _set(query, "by")),
        Field(name="by", label=words("rules.by"), value=by, kind="choice", options=_options(rules.groups)),
        *(
            Field(name=key, label=words("rules.group", money=money, column=by, group=name), value=query.text(key))
            for name in rules.groups.get(by, ())
            if (key := f"group.{quote(name)}")
        ),
    )


def _exclusions(query: Query, rules: UnitRules, head: str) -> tuple[Field, ...]:
    groups, patterns, keepers = rules.groups, rules.patterns, rules.keepers
    if not (groups or patterns or keepers):
        return ()
    column, kept = query.text("not.column"), exclusions(query, rules)
    group, treatment = query.text("not.group"), query.text("not.treatment")
    if group not in groups.get(column, ()):  # another column was chosen
        group = ""
    if group and treatment:  # nothing is left to choose: it is among the rules
        group = treatment = ""
    treatments = rules.units.menu.treatments
    fields = [_heading("rules.not", _set(query, "not", "eligible", "kept"), head=head)]
    if groups:
        fields += [
            Field(name="not.column", label=words("rules.not.column"), value=column, kind="choice", options=_options(groups)),
            Field(
                name="not.group", label=words("rules.not.group"), value=group, kind="choice",
                options=_options(groups.get(column, ())),
            ),
            Field(
                name="not.treatment", label=words("rules.not.treatment"), value=treatment, kind="choice",
                options=_options(treatments),
            ),
            *(Field(name="not", label="", value=one.text, kind="hidden") for one in kept),
        ]  # fmt: skip
    for name, key, some in (("eligible", "rules.eligible", patterns), ("kept", "rules.kept", keepers)):
        if some:
            fields.append(
                Field(name=name, label=words(key), value=query.text(name), kind="choice", options=_options(some))
            )
    return tuple(fields)


def _options(names: Sequence[str] | dict[str, tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    return (("", words("rules.none")), *((name, name) for name in names))
