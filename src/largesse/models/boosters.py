"""Boosters from the text of LightGBM, which is checked first: LightGBM itself ends the process on many a damaged text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["booster_of"]

_LARGEST = 1 << 29  # characters
_MOST = 1_000_000  # leaves of a tree, features
_PER_NODE = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child", "internal_value",
             "internal_weight", "internal_count")  # fmt: skip
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
_SINGLE = ("num_leaves", "num_cat", "is_linear", "shrinkage")
_NEEDED = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_NUMBER = r"[-+]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,4})?|[-+]?inf"
_OBJECTIVES = (
    r"regression|regression_l1|huber|fair|poisson|quantile|mape|gamma|tweedie|binary|multiclass|cross_entropy|custom"
)


def booster_of(text: Any) -> Any:
    r"""Returns the `lightgbm.Booster` of a model text.

    Raises:
        ValueError: The text is not that of a LightGBM model, or its trees are not trees.

    >>> booster_of("tree\nversion=v4")
    Traceback (most recent call last):
    ValueError: the header has no num_class
    """
    _check_text(text)
    import lightgbm

    try:
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _need(so: Any, why: str) -> None:
    if not so:
        raise ValueError(why)


def _check_text(text: Any) -> None:
    _need(isinstance(text, str) and len(text) <= _LARGEST, "they are no text")
    _need(text.isascii() or len(text.encode()) < _LARGEST, "the text is too long")
    _need("\0" not in text and text.startswith("tree\n"), "the text does not begin with 'tree'")
    start = text.find("\nTree=0\n") + 1
    head = text[: start if start else len(text)]
    header = _lines(head.splitlines()[1:], "the header")
    for name, most in (("num_class", 1000), ("num_tree_per_iteration", 1000), ("max_feature_idx", _MOST)):
        _need(name in header, f"the header has no {name}")
        _whole(header[name], 0 if name == "max_feature_idx" else 1, most, name)
    features = int(header["max_feature_idx"]) + 1
    for name in ("feature_names", "feature_infos"):
        _need(len(header.get(name, "").split(" ")) == features, f"{name} does not name {features} features")
    _need(all(re.fullmatch(r"none|\[[^\[\]\s]*\]|-?\d+(:-?\d+)*", info) for info in header["feature_infos"].split(" ")),
          "feature_infos has an entry of another form")  # fmt: skip
    objective = header.get("objective", "custom").split(" ")
    _need(re.fullmatch(_OBJECTIVES, objective[0]), "the objective is unknown")
    for word in objective[1:]:
        _need(
            re.fullmatch(r"sqrt|[a-z_]{1,40}:(?:" + _NUMBER + ")", word), "the objective has a setting of another form"
        )
        if word.startswith("num_class:"):
            _need(word == f"num_class:{header['num_class']}", "two numbers of classes differ")
    _check_trees(text, start, header, features)


def _check_trees(text: str, start: int, header: dict[str, str], features: int) -> None:
    sizes = [_whole(size, 1, _LARGEST, "tree_sizes") for size in header.get("tree_sizes", "").split()]
    data, at = text.encode(), len(text[:start].encode())
    for k, size in enumerate(sizes):
        block = data[at : at + size].decode()
        _need(block.startswith(f"Tree={k}\n"), f"tree {k} is not where tree_sizes says")
        _check_tree(_lines(block.split("\n")[1:], f"tree {k}"), features, k)
        at += size
    rest = data[at:] if sizes else b"end of trees"
    _need(rest.lstrip().startswith(b"end of trees"), "there are more or fewer trees than tree_sizes says")
    _check_parameters(rest.decode())
    per_step = int(header["num_tree_per_iteration"])
    _need(len(sizes) % per_step == 0, "trees of an iteration are missing")
    _need(
        per_step == max(1, int(header["num_class"])), "the number of trees in an iteration is not that of the classes"
    )


def _check_parameters(rest: str) -> None:
    """Checks what stands below the trees: LightGBM reads parameters up to their end, whether or not it is there."""
    before, sign, after = rest.partition("\nparameters:")
    if not sign:
        _need("parameters" not in rest, "the parameters do not begin as they should")
        return
    inside, end, _ = after.partition("\nend of parameters\n")
    _need(bool(end) and inside.startswith("\n") and "parameters" not in before, "the parameters have no end")
    _need(all(re.fullmatch(r"\[\w+: [^\[\]\0]*\]", line) for line in inside.removesuffix("\n")[1:].split("\n")),
          "the parameters have a line of another form")  # fmt: skip


def _lines(lines: list[str], where: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for line in lines:
        if line:
            name, sign, value = line.partition("=")
            _need(name not in out, f"{where} gives {name!r} twice")
            _need(sign or where == "the header", f"{where} has a line without a value")
            out[name] = value
    return out


def _check_tree(tree: dict[str, str], features: int, k: int) -> None:
    where = f"tree {k}"
    unknown = set(tree) - {*_PER_NODE, *_PER_LEAF, *_SINGLE, "cat_boundaries", "cat_threshold"}
    _need(not unknown, f"{where} has the unknown line {min(unknown, default='')[:40]!r}")
    leaves = _whole(tree.get("num_leaves"), 1, _MOST, f"num_leaves of {where}")
    kinds = _whole(tree.get("num_cat"), 0, _MOST, f"num_cat of {where}")
    _need(tree.get("is_linear", "0") == "0", f"{where} has linear leaves")
    _numbers(tree.get("shrinkage", "1"), 1, f"shrinkage of {where}")
    _numbers(tree.get("leaf_value"), leaves, f"leaf_value of {where}")
    for name, count in [(n, leaves) for n in _PER_LEAF[1:]] + [(n, leaves - 1) for n in _PER_NODE]:
        if tree.get(name):
            _numbers(tree[name], count, f"{name} of {where}")
    if leaves == 1:
        return
    _need(all(tree.get(name) for name in _NEEDED), f"{where} lacks its splits")
    nodes = leaves - 1
    split, decision, left, right = (
        _integers(tree[name], nodes, f"{name} of {where}")
        for name in ("split_feature", "decision_type", "left_child", "right_child")
    )
    _need((split >= 0).all() and (split < features).all(), f"{where} splits on a feature that does not exist")
    _need((decision >= 0).all() and (decision < 16).all(), f"{where} has a decision of an unknown type")
    _need(_is_tree(left, right, nodes), f"the branches of {where} do not form a tree")
    by_kind = np.flatnonzero(decision & 1)
    _need(bool(kinds) == bool(len(by_kind)), f"num_cat of {where} does not count its splits by category")
    if kinds:
        place = _numbers(tree["threshold"], nodes, f"threshold of {where}")[by_kind]
        _need(
            ((place >= 0) & (place < kinds) & (place % 1 == 0)).all(),
            f"{where} splits on categories that are not listed",
        )
        ends = _integers(tree.get("cat_boundaries"), kinds + 1, f"cat_boundaries of {where}")
        words = _integers(tree.get("cat_threshold"), int(ends[-1]), f"cat_threshold of {where}")
        _need(ends[0] == 0 and (np.diff(ends) > 0).all(), f"cat_boundaries of {where} do not rise from 0")
        _need(((words >= 0) & (words < 2**32)).all(), f"cat_threshold of {where} is out of its range")


def _is_tree(left: NDArray[np.int64], right: NDArray[np.int64], nodes: int) -> bool:
    """Returns whether every node but the first, and every leaf (~number), is the child of one node, all below the first."""
    children = np.concatenate([left, right])
    if children.min() < -(nodes + 1) or children.max() >= nodes:
        return False
    if len(np.unique(children)) < len(children) or (children == 0).any():
        return False
    reached, open_ = 1, [0]
    while open_:
        node = open_.pop()
        below = [int(c) for c in (left[node], right[node]) if c >= 0]
        reached += len(below)
        open_ += below
    return reached == nodes


def _whole(text: str | None, low: int, high: int, what: str) -> int:
    _need(text is not None and re.fullmatch(r"-?\d{1,10}", text), f"{what} is not a whole number")
    value = int(str(text))
    _need(low <= value <= high, f"{what} is not in {low}..{high}")
    return value


def _integers(text: str | None, count: int, what: str) -> NDArray[np.int64]:
    words = (text or "").split(" ")
    _need(len(words) == count, f"{what} has not {count} entries")
    _need(all(re.fullmatch(r"-?\d{1,10}", word) for word in words), f"{what} has an entry that is not a whole number")
    return np.array(words, np.int64)


def _numbers(text: str | None, count: int, what: str) -> NDArray[np.float64]:
    words = (text or "").split(" ")
    _need(len(words) == count, f"{what} has not {count} entries")
    _need(all(re.fullmatch(_NUMBER, word) for word in words), f"{what} has an entry that is not a number")
    return np.array(words, np.float64)
