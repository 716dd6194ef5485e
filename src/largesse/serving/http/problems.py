"""Errors as callers see them: problem details (RFC 9457) with the field, the value, the rule and the next step."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from largesse.errors import Conflict, DataError, LargesseError, StoreError

__all__ = ["MEDIA", "Problem", "Refused", "busy", "of_error", "of_msgspec", "of_status", "refused"]

MEDIA = "application/problem+json"
_LONGEST = 120  # characters of a value
_TEXT = 1_000  # characters of a detail
_KINDS = {
    400: ("malformed", "The body is not JSON"), 401: ("no-key", "A valid key is needed"),
    403: ("not-allowed", "The key's role does not allow this"), 404: ("not-found", "There is no such thing"),
    405: ("method", "The address has no such method"), 408: ("slow-body", "The request did not arrive in time"),
    409: ("conflict", "What is stored contradicts the request"), 413: ("too-large", "The body is too large"),
    415: ("media-type", "The body is of another kind"), 422: ("invalid", "A field violates a rule"),
    431: ("headers", "The headers are too large"),
    500: ("fault", "The server has a fault"), 503: ("unavailable", "The server cannot answer now"),
}  # fmt: skip
"""Status → name of the problem, and its title."""
_UNREAD = (401, 408, 413)  # statuses of requests whose body may not be read: the connection is closed instead
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "null": "null",
          "object": "an object", "array": "a list"}  # fmt: skip


class Problem(NamedTuple):
    """What went wrong with a request.

    Attributes:
        status: HTTP status.
        detail: What is wrong, and what to do.
        field: Name of the field; "": none.
        value: Its value, shortened; "": not known.
        retry: Seconds after which the same request may succeed; None: it will not.
        allow: Methods that the address has, with status 405.
    """

    status: int
    detail: str
    field: str = ""
    value: str = ""
    retry: int | None = None
    allow: str = ""

    def document(self, request: str = "") -> dict[str, Any]:
        """Returns the problem as its JSON document."""
        name, title = _KINDS.get(self.status, ("other", HTTPStatus(self.status).phrase))
        out: dict[str, Any] = {
            "type": f"urn:largesse:problem:{name}", "title": title, "status": self.status, "detail": self.detail,
        }  # fmt: skip
        if request:
            out["instance"] = f"urn:largesse:request:{request}"
        if self.field:
            out["field"] = self.field
        if self.value:
            out["value"] = self.value
        return out

    def headers(self) -> dict[str, str]:
        """Returns the headers that belong to the status."""
        out = {}
        if self.retry is not None:
            out["retry-after"] = str(self.retry)
        if self.status == HTTPStatus.UNAUTHORIZED:
            out["www-authenticate"] = 'Bearer realm="largesse"'
        if self.allow:
            out["allow"] = self.allow
        if self.status in _UNREAD:
            out["connection"] = "close"
        return out

    def body(self, request: str = "") -> bytes:
        """Returns the document as JSON."""
        return msgspec.json.encode(self.document(request))


class Refused(Exception):  # noqa: N818  (it carries a problem, which is the error)
    """A request that ends with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refused(
    status: int, detail: str, field: str = "", value: str = "", *, retry: int | None = None, allow: str = ""
) -> Refused:
    """Returns the exception of a problem; arguments as for `Problem`."""
    return Refused(Problem(status, _short(detail), field, value, retry, allow))


def busy(what: str) -> Problem:
    """Returns the problem of a server that has too much to do."""
    return Problem(503, f"{what}. Send the request again with the same key in a second.", retry=1)


def of_status(status: int, detail: str = "", *, allow: str = "") -> Problem:
    """Returns the problem of a status without further detail."""
    return Problem(status, detail or _KINDS.get(status, ("", HTTPStatus(status).phrase))[1] + ".", allow=allow)


def of_error(error: Exception) -> Problem:
    """Returns the problem of an error of this package; anything else is a fault, about which a caller learns nothing."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, DataError):
        field, value = error.field, ""
        if error.rest is not None and (got := re.match(r" == (.*?): ", error.rest, flags=re.S)):
            value = got[1] if len(got[1]) <= _LONGEST else got[1][:_LONGEST] + "..."
        status = 409 if isinstance(error, Conflict) else 422
        if status == 422 and field == "campaign" and "is not in this ledger" in str(error):
            status = 404
        return Problem(status, _short(str(error)), field, value)
    if isinstance(error, StoreError):
        return Problem(503, "The store of the ledger failed; nothing is half stored. Send the request again with the same key.",
                       retry=1)  # fmt: skip
    if isinstance(error, LargesseError):
        return Problem(422, _short(str(error)))
    return Problem(
        500, "The server could not answer. The log of the server has the reason under the id of this request."
    )


def of_msgspec(error: Exception, rename: str = "") -> Problem:
    """Returns the problem of a body that msgspec refused.

    >>> of_msgspec(msgspec.ValidationError("Expected `int | str`, got `array` - at `$.unit`")).detail
    'unit: must be text or a whole number, it is a list. See the documentation of this address.'
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return Problem(400, "The body is not UTF-8. Send JSON in UTF-8.")
    if not isinstance(error, msgspec.ValidationError):
        why = text.removeprefix("JSON is malformed: ")
        return Problem(400, f"The body is not JSON ({why[:1].lower()}{why[1:]}). Send one JSON object.")
    place = re.search(r" - at `\$\.?([^`]*)`$", text)
    field = (place[1] if place else rename).replace("[...]", "")
    rule = text[: place.start()] if place else text
    if got := re.match(r"Expected `(.*)`, got `(.*)`", rule):
        wanted, is_ = (_named(part) for part in got.groups())
        what = f"{field}: must be {wanted}, it is {is_}" if field else f"The body must be {wanted}, it is {is_}"
        return Problem(422, f"{what}. See the documentation of this address.", field)
    if got := re.match(r"Object missing required field `(.*)`", rule):
        return Problem(422, f"{got[1]}: is missing. Add it to the body.", got[1])
    if got := re.match(r"Object contains unknown field `(.*)`", rule):
        return Problem(422, f"{got[1][:_LONGEST]}: is no field. Remove it.", got[1][:_LONGEST])
    return Problem(422, f"{field}: {rule[:1].lower()}{rule[1:]}. Correct it.", field)


def _named(kinds: str) -> str:
    words = [_WORDS.get(kind.strip(), kind.strip()) for kind in kinds.split("|")]
    words.sort(key=lambda word: word not in ("text",))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[:_TEXT] + "..."
