"""Predictions of the forest equal those of LightGBM to the last bit, for every treatment."""

import lightgbm as lgb
import numpy as np
import pytest

from largesse._forest import Forest
from largesse._random import child

M, D, QUIET = 5, 6, {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "seed": 1}


def rows(n=1500, *, seed=0):
    """Returns features with zeros and ties, a treatment, and an outcome that both move."""
    rng = child(seed, 3)
    x = rng.normal(size=(n, D)).astype(np.float32)
    x[:, 1] = rng.integers(-2, 3, n)
    x[rng.random(n) < 0.3, 2] = 0.0
    t = rng.integers(0, M, n)
    y = x[:, 0] + t * (x[:, 1] > 0) + 0.3 * (t == 2) * x[:, 2] + rng.normal(size=n)
    return x, t, y


def grown(x, y, rounds=30, categorical="auto", **params):
    return lgb.train({**QUIET, **params}, lgb.Dataset(x, y, categorical_feature=categorical, params=QUIET), rounds)


def predicted(booster, x, j, *own, **how):
    """Returns the predictions of LightGBM if every row gets treatment j."""
    return booster.predict(np.column_stack([x, *own, np.full(len(x), j)]), num_threads=1, **how)


@pytest.mark.parametrize("leaves", [2, 31, 32, 33, 64])
@pytest.mark.parametrize("categorical", [False, True])
def test_every_treatment(leaves, categorical):
    x, t, y = rows()
    params = {"num_leaves": leaves, "min_data_per_group": 5}
    booster = grown(np.column_stack([x, t]), y, categorical=[D] if categorical else "auto", **params)
    forest = Forest(booster, M, treatment=D)
    assert forest._layout is not None
    assert forest._layout.trees.leaf.shape[1] == (32 if leaves <= 32 else 64)
    assert (forest._layout.trees.same < np.arange(M)).any(), "treatments with equal masks in a tree share its sums"
    want = np.column_stack([predicted(booster, x, j, raw_score=True) for j in range(M)])
    assert np.array_equal(forest.raw(x), want)
    assert np.array_equal(forest.raw(x.astype(np.float64)), want)
    assert np.array_equal(forest.raw(x, n_threads=3), want)
    assert np.array_equal(forest.raw(x[:1]), want[:1])
    assert forest.raw(x[:0]).shape == (0, M)


@pytest.mark.parametrize("layout", ["C", "F"])
def test_rows_are_only_read(layout):
    x, t, y = rows()
    x[:9, 0] = 1e-36  # LightGBM takes it for 0
    own = np.abs(x[:, :1]).astype(np.float64) * np.arange(M)
    own[:9] = 1e-36
    forest = Forest(grown(np.column_stack([x, own[np.arange(len(x)), t], t]), y), M, own=D, treatment=D + 1)
    want, before = forest.raw(x, own=own), (x.copy(), own.copy())
    given = [np.array(table, order=layout) for table in (x, own)]
    for table in given:
        table.flags.writeable = False
    assert np.array_equal(forest.raw(given[0], own=given[1]), want)
    one = [table[:1] for table in given]
    assert np.array_equal(forest.raw(one[0], own=one[1]), want[:1])
    loose = [np.array(table, order=layout) for table in before]
    forest.raw(loose[0], own=loose[1])
    assert np.array_equal(loose[0], before[0])
    assert np.array_equal(loose[1], before[1])


@pytest.mark.parametrize("objective", ["regression", "binary", "poisson", "gamma", "tweedie"])
def test_means(objective):
    x, t, y = rows()
    y = {"binary": (y > 0), "gamma": np.exp(y), "tweedie": np.maximum(y, 0), "poisson": np.round(np.maximum(y, 0))}.get(
        objective, y
    )
    forest = Forest(grown(np.column_stack([x, t]), y, objective=objective), M, treatment=D)
    assert forest._layout is not None
    assert forest._layout.mean is not None
    want = np.column_stack([predicted(forest.booster, x, j) for j in range(M)])
    np.testing.assert_allclose(forest.mean(x), want, rtol=4e-16 * 8)


def test_a_number_of_each_treatment_s_own():
    x, t, y = rows()
    own = child(5).normal(size=(len(x), M)) * x[:, :1].astype(np.float64) / 3
    own[::7] = 0.0
    taken = own[np.arange(len(x)), t]
    booster = grown(np.column_stack([x, taken, t]), y + 2 * np.abs(taken))
    forest = Forest(booster, M, own=D, treatment=D + 1)
    assert forest._layout is not None
    assert (forest._layout.trees.feature == -1).any()
    want = np.column_stack([predicted(booster, x, j, own[:, j], raw_score=True) for j in range(M)])
    assert np.array_equal(forest.raw(x, own=own), want)
    assert np.array_equal(forest.raw(x, n_threads=2, own=own), want)


def test_without_a_treatment_and_by_class():
    x, t, y = rows()
    alone = grown(x, y)
    assert np.array_equal(Forest(alone).raw(x)[:, 0], alone.predict(x, raw_score=True))
    classes = grown(x, t, objective="multiclass", num_class=M, rounds=7)
    assert np.array_equal(Forest(classes).raw(x), classes.predict(x, raw_score=True))
    np.testing.assert_array_equal(Forest(classes).mean(x), classes.predict(x))  # its softmax is LightGBM's own


def test_numbers_at_and_next_to_thresholds():
    x, t, y = rows(400)
    x[:, 0] = np.round(x[:, 0], 1)
    booster = grown(np.column_stack([x, t]), y + (x[:, 2] > 0))
    forest = Forest(booster, M, treatment=D)
    cuts = np.array(sorted({*forest._layout.trees.threshold, 0.0, 1e-35, -1e-35, 2e-35, -2e-35, 1e-40, -1e-40}))
    near = np.float32(cuts)
    near = np.unique([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))])
    for column in range(D):
        put = np.repeat(x[:1], len(near), axis=0)
        put[:, column] = near
        want = np.column_stack([predicted(booster, put, j, raw_score=True) for j in range(M)])
        assert np.array_equal(forest.raw(put), want)
        double = put.astype(np.float64)
        double[: len(cuts), column] = cuts
        want = np.column_stack([predicted(booster, double, j, raw_score=True) for j in range(M)])
        assert np.array_equal(forest.raw(double), want)


@pytest.mark.parametrize(
    "params",
    [
        {"num_leaves": 80, "min_data_in_leaf": 2},
        {"zero_as_missing": True},
        {"linear_tree": True},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7},
    ],
    ids=lambda params: next(iter(params)),
)
def test_what_has_no_such_form_is_left_to_lightgbm(params):
    x, t, y = rows()
    data = lgb.Dataset(np.column_stack([x, t]), y, params=QUIET | params)
    booster = lgb.train(QUIET | params, data, 10)
    forest = Forest(booster, M, treatment=D)
    assert forest._layout is None
    want = np.column_stack([predicted(booster, x, j) for j in range(M)])
    assert np.array_equal(forest.mean(x), want)
    want = np.column_stack([predicted(booster, x, j, raw_score=True) for j in range(M)])
    assert np.array_equal(forest.raw(x), want)


def test_a_feature_of_categories_is_left_to_lightgbm():
    x, t, y = rows()
    x[:, 1] += 2
    booster = grown(np.column_stack([x, t]), y, categorical=[1], min_data_per_group=5, cat_smooth=1.0)
    assert Forest(booster, M, treatment=D)._layout is None


def test_means_that_are_not_known_here_are_lightgbm_s():
    x, t, y = rows()
    booster = grown(np.column_stack([x, t]), (y > 0), objective="binary", sigmoid=2.0)
    forest = Forest(booster, M, treatment=D)
    assert forest._layout.mean is None
    assert np.array_equal(forest.mean(x), np.column_stack([predicted(booster, x, j) for j in range(M)]))


def test_trees_of_one_leaf():
    x, t, y = rows(200)
    booster = grown(np.column_stack([x, t]), y, min_data_in_leaf=150)
    assert {tree["num_leaves"] for tree in booster.dump_model()["tree_info"]} == {1}
    want = np.column_stack([predicted(booster, x, j, raw_score=True) for j in range(M)])
    assert np.array_equal(Forest(booster, M, treatment=D).raw(x), want)


def test_an_early_stop_counts():
    x, t, y = rows()
    train, validation = (lgb.Dataset(np.column_stack([x, t])[i::2], y[i::2], params=QUIET) for i in (0, 1))
    stop = lgb.early_stopping(3, verbose=False)
    how = QUIET | {"learning_rate": 0.5}
    booster = lgb.train(how, train, 200, valid_sets=[validation], callbacks=[stop], keep_training_booster=True)
    assert booster.best_iteration < booster.current_iteration()
    want = np.column_stack([predicted(booster, x, j, raw_score=True) for j in range(M)])
    assert np.array_equal(Forest(booster, M, treatment=D).raw(x), want)
