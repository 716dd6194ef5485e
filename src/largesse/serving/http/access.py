"""API keys: made once, kept as hashes, and compared without a look into the store."""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple

import sqlalchemy as sa

from largesse import _check
from largesse.serving.http.problems import refused
from largesse.serving.ledger.store import reading, writing
from largesse.serving.ledger.tables import access
from largesse.serving.ledger.terms import text

__all__ = ["ROLES", "Keyring", "create_key", "list_keys", "revoke_key"]

ROLES = ("decide", "report", "admin")
_FORM = re.compile(r"largesse_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_LONGEST = 100  # bytes of a name


class _Entry(NamedTuple):
    digest: bytes
    role: str
    expires: float


def create_key(
    engine: sa.Engine,
    role: str,
    *,
    name: str = "",
    expires: float | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[str, str]:
    """Stores a new key; returns its id, and the key itself, which nothing can show again.

    Args:
        engine: An open store.
        role: "decide", "report" or "admin".
        name: Whom it is for.
        expires: Time of its end, in seconds since 1970 (UTC); None: none.
        clock: Returns the time.

    Raises:
        DataError: An unknown role, a name that is too long, or an end in the past.
        StoreError: The store failed.
    """
    now = clock()
    _check.choice("role", role, ROLES)
    if name and len(text("name", name).encode()) > _LONGEST:
        raise _check.refuse("name", name, f"must have at most {_LONGEST} bytes", "Give a shorter name.")
    if expires is not None and expires <= now:
        raise _check.refuse("expires", expires, "is in the past", "Give a later date.")
    identity, secret = secrets.token_hex(6), secrets.token_bytes(32)
    row = {
        "id": identity,
        "name": name,
        "role": role,
        "digest": sha256(secret).hexdigest(),
        "created": now,
        "expires": expires,
    }
    with writing(engine) as connection:
        connection.execute(access.insert().values(**row, revoked=None))
    return identity, f"largesse_{identity}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"


def list_keys(engine: sa.Engine) -> list[dict[str, Any]]:
    """Returns id, name, role, created, expires and revoked of every key, oldest first.

    Raises:
        StoreError: The store failed.
    """
    c = access.c
    query = sa.select(c.id, c.name, c.role, c.created, c.expires, c.revoked).order_by(c.created, c.id)
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def revoke_key(engine: sa.Engine, identity: str, *, clock: Callable[[], float] = time.time) -> bool:
    """Revokes a key; returns False if it was revoked before.

    Raises:
        DataError: There is no such key.
        StoreError: The store failed.
    """
    with writing(engine) as connection:
        row = connection.execute(sa.select(access.c.revoked).where(access.c.id == identity)).first()
        if row is None:
            raise _check.refuse("id", identity, "there is no such key", "`largesse keys list` shows the ids.")
        if row.revoked is not None:
            return False
        connection.execute(sa.update(access).where(access.c.id == identity).values(revoked=clock()))
    return True


class Keyring:
    """The valid keys as one worker knows them; `renew` reads them from the store.

    Args:
        needed: Whether callers need a key at all.
        clock: Returns the time.
    """

    def __init__(self, needed: bool, clock: Callable[[], float] = time.time) -> None:
        self.needed, self.clock = needed, clock
        self._entries: dict[str, _Entry] = {}

    def renew(self, connection: sa.Connection) -> None:
        """Reads the keys."""
        rows = connection.execute(sa.select(access).where(access.c.revoked.is_(None))).all()
        self._entries = {
            row.id: _Entry(bytes.fromhex(row.digest), row.role, float("inf") if row.expires is None else row.expires)
            for row in rows
        }

    def check(self, header: bytes | None, role: str) -> None:
        """Checks the header Authorization.

        Raises:
            Refused: There is no valid key (401), or its role does not allow this (403).
        """
        if not self.needed:
            return
        entry = self._entry(header)
        if entry.role not in (role, "admin"):
            raise refused(403, f"The key has the role {entry.role!r}, this needs {role!r} or 'admin'. Use another key.")

    def role(self, key: str) -> str | None:
        """Returns the role of a key; None: it is not valid."""
        entry = self._valid(key)
        return None if entry is None else entry.role

    def _valid(self, key: str) -> _Entry | None:
        form = _FORM.fullmatch(key.strip())
        if form is None:
            return None
        entry = self._entries.get(form[1])
        # The secret has 32 bytes, which 43 characters without the padding stand for.
        digest = sha256(base64.urlsafe_b64decode(form[2] + "=")).digest()
        same = compare_digest(digest, b"" if entry is None else entry.digest)
        return entry if same and entry is not None and self.clock() < entry.expires else None

    def _entry(self, header: bytes | None) -> _Entry:
        if header is None:
            raise refused(401, "The request has no key. Send the header: Authorization: Bearer KEY.")
        scheme, _, token = header.decode("latin-1").partition(" ")
        entry = self._valid(token) if scheme.lower() == "bearer" else None
        if entry is not None:
            return entry
        raise refused(401, "The key is not valid: it is unknown, revoked or expired. Ask for a new one.")
