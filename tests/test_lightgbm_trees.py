"""The arrays of a booster have what LightGBM itself writes as JSON."""

from types import SimpleNamespace
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from largesse._lightgbm_trees import BoosterTrees, below, below_double

D = 4
QUIET = {"verbosity": -1, "num_threads": 1, "min_data_per_group": 5, "seed": 1}
EDGES = np.array([0.1, -0.1, 1.1e-35, -1.1e-35, 3.0, -7.5, 1e30 / 3, 1e300, -1e300])


def booster(m: int = 5, *, categorical: bool = True, rounds: int = 12, **params: Any) -> lgb.Booster:
    """Returns trees on four features and a treatment, the last column."""
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(2000, D)), rng.integers(0, m, 2000)
    y = x[:, 0] + t % 3 * (x[:, 1] > 0) + rng.normal(size=2000)
    how = QUIET | params
    data = lgb.Dataset(np.column_stack([x, t]), y, categorical_feature=[D] if categorical else "auto", params=how)
    return lgb.train(how, data, rounds)


def walked(branch: dict[str, Any], leaves: list[float], splits: dict[int, Any]) -> None:
    """Adds the leaves of LightGBM's JSON from left to right, and its splits with the leaves on each side."""
    if "leaf_value" in branch:
        leaves.append(branch["leaf_value"])
        return
    first = len(leaves)
    walked(branch["left_child"], leaves, splits)
    splits[branch["split_index"]] = (branch, first, len(leaves) - first)
    walked(branch["right_child"], leaves, splits)


@pytest.mark.parametrize("m", [2, 5, 70])
@pytest.mark.parametrize("categorical", [True, False])
def test_they_are_those_of_the_json(m: int, categorical: bool):
    grown = booster(m, categorical=categorical, num_leaves=20, max_cat_to_onehot=2)
    trees, dump = BoosterTrees(grown), grown.dump_model()
    assert (trees.classes, trees.objective, trees.averaged, trees.linear) == (1, "regression", False, False)
    by_category = 0
    for tree, content in enumerate(dump["tree_info"]):
        leaves: list[float] = []
        splits: dict[int, Any] = {}
        walked(content["tree_structure"], leaves, splits)
        start, n = trees.first[tree], trees.leaves[tree]
        assert n == len(leaves) == len(splits) + 1
        own = slice(start + tree, start + tree + n)
        assert trees.leaf[own][np.argsort(trees.place[own])].tolist() == leaves
        for node, (branch, first, left) in splits.items():
            i = start + node
            assert (trees.begin[i], trees.among_left[i], trees.feature[i]) == (first, left, branch["split_feature"])
            if branch["decision_type"] == "<=":
                assert trees.threshold[i] == branch["threshold"]
                assert trees.plain[i]
            else:
                by_category += 1
                assert not trees.plain[i]
                given = set(map(int, branch["threshold"].split("||")))
                assert np.flatnonzero(trees.goes_left(np.array([i]), m)[0]).tolist() == sorted(given)
    assert (by_category > 0) == categorical


def test_a_split_on_the_number_of_a_treatment():
    trees = BoosterTrees(booster(5, categorical=False, num_leaves=20))
    nodes = np.flatnonzero(trees.feature == D)
    assert len(nodes) > 5
    np.testing.assert_array_equal(trees.goes_left(nodes, 5), np.arange(5) <= trees.threshold[nodes][:, None])


def test_what_the_head_says():
    assert BoosterTrees(booster(objective="huber")).objective == "huber"
    assert BoosterTrees(booster(boosting="rf", bagging_freq=1, bagging_fraction=0.7)).averaged
    assert BoosterTrees(booster(categorical=False, linear_tree=True)).linear
    assert not BoosterTrees(booster(zero_as_missing=True, categorical=False)).plain.all()


@pytest.mark.parametrize("line", ["left_child=99", "right_child=-99", "left_child=0"])
def test_children_that_form_no_tree(line: str):
    text = booster(num_leaves=2, rounds=1).model_to_string()
    key = line.partition("=")[0]
    broken = "\n".join(line if row.startswith(key) else row for row in text.split("\n"))
    assert (BoosterTrees(SimpleNamespace(model_to_string=lambda: broken)).begin == -1).all()


def test_a_threshold_is_rounded_down():
    near = below(EDGES)
    assert near.dtype == np.float32
    assert (near.astype(np.float64) <= EDGES).all()
    with np.errstate(over="ignore"):
        up = np.nextafter(near, np.float32(np.inf)).astype(np.float64)
    assert (up > EDGES).all()
    assert near[-1] == -np.inf


@pytest.mark.parametrize("threshold", [0.0, 1e-35, -1e-35, 5e-36, -1e-40])
def test_around_0(threshold: float):
    """LightGBM takes numbers of size up to 1e-35 for 0: they go left together, or right together."""
    zero = np.float32(1e-35)
    single, double = float(below(np.array(threshold))), float(below_double(np.array(threshold)))
    assert (single >= zero) == (double >= float(zero)) == (threshold >= 0)
    assert (single >= -zero) == (double >= -float(zero)) == (threshold >= 0)
