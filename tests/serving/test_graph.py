"""The ONNX form of every registered model has the menu of the model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from largesse.allocate.price_intervals import assign, intervals
from largesse.errors import DataError
from largesse.menu import Menu
from largesse.models import Boosting
from largesse.models.registry import NAMES
from largesse.models.two_stage.calibrated import Calibrated
from largesse.policy import Policy
from largesse.serving.graph.builder import Graph
from largesse.serving.graph.models import members_of, response_of
from largesse.serving.graph.policy import graph_of
from largesse.serving.policy import ServedPolicy
from largesse.serving.policy_files import write_policy
from tests.common.policies import learned, raw, saved, table
from tests.common.worlds import WORLDS

pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
pytest.importorskip("onnx", reason="the extra 'serve' is not installed")

BINARY = ("drp", "drm", "dum")  # for one treatment and control
CASES = [(name, "visits" if name in BINARY else list(WORLDS)[k % len(WORLDS)]) for k, name in enumerate(NAMES)]
CASES += [("lightgbm", "baskets"), ("mlp", "baskets"), ("mlp", "counts"), ("mlp-rct", "profits"), ("mlp-rct", "visits"),
          ("logs-then-correction", "profits"), ("lightgbm-t", "visits"), ("hrc", "profits"), ("dpm", "orders")]  # fmt: skip


def off(served: Menu, own: Menu) -> np.ndarray[Any, Any]:
    """Marks the rows whose values or costs differ by more than 1e-5 of the amount (near 0: 1e-6 of the mean amount)."""
    out = np.zeros(own.n, bool)
    for a, b in ((served.value, own.value), (served.cost, own.cost)):
        b = b.astype(np.float64)
        out |= (np.abs(a - b) > 1e-5 * np.abs(b) + 1e-6 * np.abs(b).mean()).any(1)
    return out


def prices(menu: Menu) -> list[float]:
    """Usual prices, and some at which units are tied."""
    lo = intervals(menu)[0]
    ties = np.unique(lo[np.isfinite(lo) & (lo > 0)])
    return [0.0, *np.quantile(ties, [0.1, 0.5, 0.9], method="nearest").tolist()] if len(ties) else [0.0, 1.0]


@pytest.mark.parametrize(("name", "world"), CASES)
def test_every_registered_model_has_its_menu(name: str, world: str, tmp_path: Path):
    model, rows = learned(name, world)
    saved(model, rows, tmp_path)
    users = table(world, 2000, 5, odd=True)
    served, own = ServedPolicy.load(tmp_path), model.predict(users)
    menu = served.menu(raw(users))
    assert menu.treatments == own.treatments
    assert off(menu, own).sum() == 0
    for price in prices(own):
        codes = served.assign(raw(users), price)
        # At a price at which rounding decides, the menu that was computed decides.
        assert (codes == assign(menu, price)).all()
        gap = menu.value - price * menu.cost
        best, own_best = gap.max(1), (own.value - price * own.cost).max(1)
        np.testing.assert_allclose(np.take_along_axis(gap, codes[:, None], 1)[:, 0], best, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(best, own_best, rtol=1e-4, atol=1e-5 * np.abs(own.value).mean())
        if price == 0:
            assert (codes == assign(own, price)).mean() >= 0.999


@pytest.mark.slow
def test_a_stack_has_its_menu_on_many_rows(tmp_path: Path):
    model, rows = learned("stack", "orders", 4000)
    saved(model, rows, tmp_path)
    users = table("orders", 100_000, 7, odd=True)
    served, own = ServedPolicy.load(tmp_path), model.predict(users)
    menu = served.menu(raw(users))
    assert off(menu, own).mean() <= 1e-4  # rows on a threshold of a correction
    price = float(np.median(own.value[:, 1:] - own.value[:, :1]) / np.median(own.cost[:, 1:]))
    assert (assign(menu, price) == assign(own, price)).mean() >= 0.9999


def cuts(model: Any) -> dict[int, list[float]]:
    """Returns the thresholds of the trees, by feature."""
    out: dict[int, list[float]] = {}

    def walk(branch: dict[str, Any]) -> None:
        if "threshold" in branch and branch["decision_type"] == "<=":
            out.setdefault(branch["split_feature"], []).append(branch["threshold"])
        for child in ("left_child", "right_child"):
            if child in branch:
                walk(branch[child])

    for trees in model.trees_.values():
        for booster in trees.boosters:
            for tree in booster.dump_model()["tree_info"]:
                walk(tree["tree_structure"])
    return out


def test_rows_at_the_thresholds_go_the_same_way(tmp_path: Path):
    """Also numbers in double precision, numbers next to a threshold, and those that LightGBM reads as 0."""
    model, rows = learned("lightgbm-rct", "orders", 3000)
    saved(model, rows, tmp_path)
    users, rng, names = raw(table("orders", 4000, 3)), np.random.default_rng(0), rows.features
    used = {names[k]: np.array(found) for k, found in cuts(model).items() if k < len(names) and names[k] in users}
    assert {"f0", "f1", "amount"} <= set(used)
    for name, found in used.items():
        if name in ("city", "rare", "size") or users[name].dtype.kind != "f":
            continue
        at = rng.choice(found, 4000)
        single = at.astype(np.float32)
        aside = np.nextafter(single, rng.choice(np.array([-np.inf, np.inf], np.float32), 4000))
        users[name] = np.choose(rng.integers(0, 4, 4000), [at, single, aside, np.full(4000, 1e-36)])
    every = np.concatenate(list(used.values()))
    assert (every.astype(np.float32) > every).any(), "plain rounding would send rows the other way"
    own = model.predict(pa.table({name: pa.array(cells, from_pandas=True) for name, cells in users.items()}))
    menu = ServedPolicy.load(tmp_path).menu(users)
    np.testing.assert_allclose(menu.value, own.value, rtol=1e-10)


def test_a_tree_that_has_no_form_is_refused_and_nothing_is_written(tmp_path: Path):
    _, rows = learned("lightgbm-rct", "orders")
    for params, words in (({"boosting": "rf"}, "mean of trees"), ({"zero_as_missing": True}, "missing values 'Zero'")):
        model = Boosting(params=params, rounds=5).fit(rows)
        policy = Policy.calibrated(model, rows, draws=20)
        folder = tmp_path / words[:4]
        folder.mkdir()
        policy.save(folder / "policy")
        sentence = write_policy(policy, folder, x=rows.x)
        assert sentence.startswith("policy.onnx was not written: params: a tree")
        assert words in sentence
        assert [p.name for p in folder.iterdir()] == ["policy"]


def test_a_model_that_is_not_known_is_refused():
    with pytest.raises(DataError, match="model: object has no ONNX form"):
        response_of(Graph(), object(), "features")  # type: ignore[arg-type]


def within(model: Any) -> Any:
    """The ensemble in a calibration or a correction."""
    return within(model.base_) if hasattr(model, "base_") else model


@pytest.mark.parametrize(("name", "wrapped"), [("stack", False), ("mlp", False), ("stack", True)])
def test_an_ensemble_has_the_menus_of_its_members(name: str, wrapped: bool, tmp_path: Path):
    model, rows = learned(name, "orders")
    if wrapped:
        model = Calibrated(model).fit(rows)
    saved(model, rows, tmp_path)
    users = table("orders", 500, 5, odd=True)
    served = ServedPolicy.load(tmp_path)
    inner = within(model)
    assert sum(served.members) == pytest.approx(1.0)
    assert len(served.members) == len(inner.models_ if name == "stack" else inner.nets_) > 1
    value, cost = (
        out.reshape(500, len(served.members), -1)
        for out in served._run(["member_value", "member_cost"], raw(users), 0.0)
    )
    for b in range(len(served.members)):
        alone = copy.deepcopy(model)
        part = within(alone)
        if name == "stack":
            part.weights_ = tuple(float(k == b) for k in range(len(served.members)))
        else:
            part.nets_ = [part.nets_[b]]
        own = alone.predict(users)
        assert off(Menu(value=value[:, b], cost=cost[:, b], treatments=own.treatments), own).sum() == 0
    price = 0.3
    right = np.zeros(value[:, 0].shape)
    for b, weight in enumerate(served.members):
        right[np.arange(500), np.argmax(value[:, b] - price * cost[:, b], axis=1)] += weight
    np.testing.assert_allclose(served.votes(raw(users), price), right, atol=1e-12)
    control = np.zeros(right.shape, np.bool_)
    control[:, 0] = True
    assert (served.votes(raw(users), price, allowed=control) == control).all()


def test_the_members_of_a_stack_are_in_its_file_once(tmp_path: Path):
    """Trees are most of it: menus of members add less than a tenth."""
    model, rows = learned("stack", "orders", 4000)
    saved(model, rows, tmp_path)
    whole = (tmp_path / "policy.onnx").stat().st_size
    encoder = Policy.load(tmp_path / "policy").encoder
    assert encoder is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("largesse.serving.graph.policy.members_of", lambda model: ())
        alone = len(graph_of(model, encoder))
    assert members_of(model)
    assert whole < 1.1 * alone


def test_one_model_is_no_ensemble(tmp_path: Path):
    model, rows = learned("lightgbm", "orders")
    saved(model, rows, tmp_path)
    served = ServedPolicy.load(tmp_path)
    assert served.members == ()
    with pytest.raises(DataError, match="members == \\(\\): the model of this run is no ensemble"):
        served.votes(raw(table("orders", 5, 5)), 0.3)
