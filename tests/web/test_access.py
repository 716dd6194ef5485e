"""Who may see the studio: one browser by the link, others by a key, nobody else; and only the own pages may change something."""

from __future__ import annotations

import pytest

from largesse.web.access import Access, is_loopback


def test_a_link_lets_one_browser_in() -> None:
    access = Access("secret")
    assert access.enter("secre") is None
    cookie = access.enter("secret")
    assert cookie is not None
    assert access.enter("secret") is None
    session = access.session(cookie)
    assert session is not None
    assert session.role == "admin"
    assert access.session("another") is None
    assert access.session(None) is None


def test_a_reusable_link_lets_several_in() -> None:
    access = Access("secret", reusable=True)
    first, second = access.enter("secret"), access.enter("secret")
    assert first is not None
    assert second is not None
    assert access.session(first) != access.session(second)


def test_without_a_token_no_link_lets_in() -> None:
    access = Access(None, lambda key: "report")
    assert access.enter("") is None
    assert access.enter("None") is None


@pytest.mark.parametrize(("role", "lets"), [("report", True), ("admin", True), ("decide", False), (None, False)])
def test_a_key_lets_in_by_its_role(role: str | None, lets: bool) -> None:
    access = Access(None, lambda key: role)
    cookie = access.enter_with_key("key")
    assert (cookie is not None) == lets
    if cookie is not None:
        session = access.session(cookie)
        assert session is not None
        assert session.role == role


def test_a_session_ends_by_itself_and_on_request() -> None:
    now = [0.0]
    access = Access("a", reusable=True, clock=lambda: now[0])
    cookie = access.enter("a")
    now[0] = 11 * 3600.0
    assert access.session(cookie) is not None  # lasts longer with every request
    now[0] = 22 * 3600.0
    assert access.session(cookie) is not None
    now[0] = 35 * 3600.0
    assert access.session(cookie) is None
    other = access.enter("a")
    access.leave(other)
    assert access.session(other) is None


def test_a_key_that_is_revoked_ends_its_sessions_within_a_minute() -> None:
    now, roles = [0.0], {"a": "admin", "b": "report"}
    access = Access(None, roles.get, clock=lambda: now[0])
    first, second = access.enter_with_key("a"), access.enter_with_key("b")
    roles["a"] = "report"
    del roles["b"]
    now[0] = 61.0
    session = access.session(first)
    assert session is not None
    assert session.role == "report"
    assert access.session(second) is None
    assert access.session(second) is None


def test_sessions_are_bounded() -> None:
    access = Access("a", reusable=True)
    cookies = [access.enter("a") for _ in range(1100)]
    assert access.session(cookies[0]) is None
    assert access.session(cookies[-1]) is not None


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.0.4", False),
        ("example.com", False),
    ],
)
def test_addresses_of_this_machine_are_known(host: str, local: bool) -> None:
    assert is_loopback(host) == local
