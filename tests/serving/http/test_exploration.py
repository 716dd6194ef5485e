"""Exploration by the votes of an ensemble, through every route of the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.common.served import NORTH, make_run, service

from largesse.errors import ConfigError  # isort: skip
from largesse.serving.http.begin import begin  # isort: skip
from largesse.serving.http.settings import load_settings  # isort: skip

EXPLORE = 0.4
# Of exploration, 20 % are the mix (a third each); of the rest, three quarters vote for the gift and one for control.
RIGHT = {"none": 0.4 * (0.2 / 3 + 0.8 * 0.25), "coupon": 0.4 * 0.2 / 3, "gift": 0.6 + 0.4 * (0.2 / 3 + 0.8 * 0.75)}
WITHOUT_GIFT = {"none": 0.4 * (0.2 / 2 + 0.8 * 0.25), "coupon": 0.6 + 0.4 * (0.2 / 2 + 0.8 * 0.75), "gift": 0.0}
HOW = {"exploration": "thompson", "explore": EXPLORE, "holdout": 0.0, "budget": 1e5}


def test_members_vote_in_every_route(tmp_path: Path):
    run = make_run(tmp_path / "ensemble", members=(0.75, 0.25))
    with service(tmp_path, run=str(run), **HOW) as one:
        assert one.decide("a").json()["propensities"] == pytest.approx(RIGHT)
        limited = one.decide("b", allowed=["none", "coupon"]).json()
        assert limited["propensities"] == pytest.approx(WITHOUT_GIFT)
        rows = [{"unit": f"u{k}", "features": NORTH} for k in range(30)]
        several = one.ask("POST", "/v1/decisions:batch", "decide", json=rows).json()
        rows = [{"unit": f"v{k}", "features": NORTH, "allowed": ["none", "coupon"]} for k in range(30)]
        lines = "\n".join(map(json.dumps, rows)).encode()
        fewer = one.ask(
            "POST", "/v1/decisions:batch", "decide", content=lines, headers={"content-type": "application/x-ndjson"}
        )
        assert all(row["propensities"] == pytest.approx(RIGHT) for row in several)
        assert all(json.loads(row)["propensities"] == pytest.approx(WITHOUT_GIFT) for row in fewer.content.splitlines())
        assert {row["kind"] for row in several} == {"policy", "explore"}


def test_a_challenger_that_is_no_ensemble_explores_by_the_mix(tmp_path: Path):
    run, plain = (
        make_run(tmp_path / "ensemble", members=(0.75, 0.25)),
        make_run(tmp_path / "plain", cost=(0.0, 1.0, 4.5)),
    )
    with service(tmp_path, run=str(run), **HOW) as one:
        one.ask("PUT", "/v1/campaigns/spring/challenger", json={"run": str(plain), "share": 1.0})
        mix = {"none": EXPLORE / 3, "coupon": EXPLORE / 3, "gift": 0.6 + EXPLORE / 3}
        assert one.decide("a").json()["propensities"] == pytest.approx(mix)


def test_a_run_that_is_no_ensemble_is_refused(tmp_path: Path):
    run = make_run(tmp_path / "plain")
    settings = load_settings(
        None, server={"store": f"sqlite:///{tmp_path}/a.db", "keys": False},
        campaigns={"spring": {"run": str(run), "budget": 10, "until": "2040-01-01", "exploration": "thompson"}},
        environment={},
    )  # fmt: skip
    with pytest.raises(
        ConfigError, match=r'campaigns.spring.exploration == "thompson": the model of .* is no ensemble'
    ):
        begin(settings)
