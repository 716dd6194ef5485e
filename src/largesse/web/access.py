"""Who may look and who may change something: a one-time link on this machine, keys with roles from elsewhere.

On the loopback address the studio starts with a token that is good for one browser: opening its link sets a cookie, and the
link is of no further use. With an address that others reach, visitors enter a key of the service (`largesse keys`): with the
role "report" they see everything, with "admin" they promote and roll back.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from typing import NamedTuple

__all__ = ["COOKIE", "Access", "Session", "is_loopback"]

COOKIE = "largesse-studio"
"""Name of the cookie of a session."""
_LASTS = 12 * 3600.0  # seconds of a session without a request
_CHECKED = 60.0  # seconds after which a key is looked up again
_MOST = 1000  # sessions


class Session(NamedTuple):
    """A browser that is let in.

    Attributes:
        role: "report" may look, "admin" may change.
        form: A secret that every form sends back, so that no other site can send it.
        until: Time of its end.
        key: The key of the service that it was let in with; "": it was a link.
        checked: When the key was looked up last.
    """

    role: str
    form: str
    until: float
    key: str = ""
    checked: float = 0.0


class Access:
    """The sessions of a studio.

    Args:
        token: The token of the one-time link; None: visitors need a key.
        role_of: Returns the role of a key, or None where it is not valid; None: keys are not accepted.
        reusable: Whether the link may be opened more than once.
        clock: Returns the time.
    """

    def __init__(
        self, token: str | None, role_of: Callable[[str], str | None] | None = None, *, reusable: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.token, self.role_of, self.reusable, self.clock = token, role_of, reusable, clock
        self._sessions: dict[bytes, Session] = {}

    def enter(self, token: str) -> str | None:
        """Returns the cookie of a new session for a token, or None where it is wrong or was used."""
        if self.token is None or not compare_digest(token.encode(), self.token.encode()):
            return None
        if not self.reusable:
            self.token = None
        return self._begun("admin")

    def enter_with_key(self, key: str) -> str | None:
        """Returns the cookie of a new session for a key of the service, or None where it is not valid or may not look."""
        role = None if self.role_of is None else self.role_of(key)
        return self._begun(role, key) if role in ("report", "admin") else None

    def session(self, cookie: str | None) -> Session | None:
        """Returns the session of a cookie and lets it last longer; None: there is none, or it has ended."""
        if not cookie:
            return None
        key, now = _digest(cookie), self.clock()
        session = self._sessions.get(key)
        if session is None or session.until < now:
            self._sessions.pop(key, None)
            return None
        if session.key and now - session.checked > _CHECKED:
            role = None if self.role_of is None else self.role_of(session.key)
            if role not in ("report", "admin"):  # it was revoked, or has expired
                self._sessions.pop(key, None)
                return None
            session = session._replace(role=role, checked=now)
        self._sessions[key] = session = session._replace(until=now + _LASTS)
        return session

    def leave(self, cookie: str | None) -> None:
        """Ends a session."""
        if cookie:
            self._sessions.pop(_digest(cookie), None)

    def _begun(self, role: str, key: str = "") -> str:
        now = self.clock()
        self._sessions = {key: one for key, one in self._sessions.items() if one.until >= now}
        while len(self._sessions) >= _MOST:
            self._sessions.pop(next(iter(self._sessions)))
        cookie = secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = Session(role, secrets.token_urlsafe(32), now + _LASTS, key, now)
        return cookie


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()


def is_loopback(host: str) -> bool:
    """Returns whether an address is one of this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
