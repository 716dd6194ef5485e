"""What the JSON of a command holds: the definitions behind `largesse schema` and docs/json.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from largesse import _check
from largesse.commands.schemas.later import Check, Compare, Evaluate
from largesse.commands.schemas.ledger import DecisionsExport, DecisionsReplay, DecisionsShadow, Erase, VerifyLog
from largesse.commands.schemas.live import Live
from largesse.commands.schemas.monitor import Monitor
from largesse.commands.schemas.promote import Promote
from largesse.commands.schemas.runs import Demo, Fit, Metrics, Tune
from largesse.commands.schemas.trials import Experiment, Replay
from largesse.commands.schemas.units import Allocate, Assign, Export, Plan, Predict
from largesse.commands.schemas.update import Update

__all__ = ["DOCUMENTS", "schema", "table"]

_ELSEWHERE = (Metrics.__name__,)  # objects whose fields stand in another table

DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "allocate": Allocate, "assign": Assign, "check": Check, "compare": Compare, "decisions export": DecisionsExport,
    "decisions replay": DecisionsReplay, "decisions shadow": DecisionsShadow, "demo": Demo, "demo --live": Live,
    "erase": Erase, "evaluate": Evaluate, "experiment": Experiment, "export": Export, "fit": Fit, "monitor": Monitor,
    "plan": Plan, "predict": Predict, "promote": Promote, "replay": Replay, "tune": Tune, "update": Update,
    "verify-log": VerifyLog,
}  # fmt: skip
"""The document of each command."""


def schema(command: str) -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of a command's document.

    Raises:
        DataError: There is no schema of this command.

    >>> schema("assign")["required"]
    ['output', 'arms']
    """
    made = DOCUMENTS[_check.choice("command", command, tuple(DOCUMENTS))].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def table(command: str) -> str:
    """Returns the fields of a command's document as a table in Markdown."""
    made = schema(command)
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *_lines(made, "", made.get("$defs", {}))])


def _lines(shown: dict[str, Any], before: str, inner: dict[str, Any]) -> Iterator[str]:
    for name, field in shown["properties"].items():
        kind, of = _type(field)
        yield f"| `{before}{name}` | {kind} | {field.get('description', '')} |"
        if of and of not in _ELSEWHERE:
            yield from _lines(inner[of], f"{before}{name}{'[]' if kind.startswith('array') else ''}.", inner)


def _type(field: dict[str, Any]) -> tuple[str, str]:
    """Returns the type of a field in words, and the name of the objects in it ("" for none)."""
    if "$ref" in field:
        return "object", field["$ref"].rpartition("/")[2]
    if "anyOf" in field:
        words, names = zip(*map(_type, field["anyOf"]), strict=True)
        return " or ".join(words), "".join(names)
    if "type" not in field:
        return "any value", ""
    if field["type"] == "array":
        word, name = _type(field["items"])
        return f"array of {_many(word)}", name
    if field["type"] == "object":
        word, name = _type(field["additionalProperties"])
        return f"object of {_many(word)}", name
    return field["type"], ""


def _many(word: str) -> str:
    """Returns a type, or several with "or", in the plural."""
    first = [one.split(" ", 1) for one in word.split(" or ")]
    return " or ".join(" ".join([one[0] if one[0] == "null" else f"{one[0]}s", *one[1:]]) for one in first)
