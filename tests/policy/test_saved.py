"""Policies saved by an earlier version are read, and decide as they did.

`tests/policy/saved` holds one small policy of each kind of model, written in format 1 by version 0.1.0 before its modules moved,
and in `expected.npz` the menus and a price that they gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from largesse.policy import SAVED_MODELS, Policy

PLACE = Path(__file__).parent / "saved"
NAMES = sorted(path.name for path in PLACE.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_policy_decides_as_it_did(name: str):
    policy = Policy.load(PLACE / name)
    with np.load(PLACE / "expected.npz") as expected:
        binary = expected[f"{name}.value"].shape[1] == 2
        x = expected["x.baskets" if name.startswith("Zero") else "x.two" if binary else "x.orders"]
        menu = policy.menu(x)
        np.testing.assert_allclose(menu.value, expected[f"{name}.value"], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(menu.cost, expected[f"{name}.cost"], rtol=1e-5, atol=1e-7)
        price = policy.curve.price_per_head(0.2 * policy.curve.spend_per_head[0])
        assert price == pytest.approx(float(expected[f"{name}.price"]), rel=1e-12)


def test_there_is_one_of_each_kind():
    assert {type(Policy.load(PLACE / name).model).__name__ for name in NAMES} == set(SAVED_MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_anew_decides_the_same(name: str, tmp_path: Path):
    policy = Policy.load(PLACE / name)
    policy.save(tmp_path / "again")
    again = Policy.load(tmp_path / "again")
    x = np.random.default_rng(0).normal(size=(20, len(policy.model.features_))).astype(np.float32)
    np.testing.assert_array_equal(policy.menu(x).value, again.menu(x).value)
    np.testing.assert_array_equal(policy.menu(x).cost, again.menu(x).cost)
