"""Texts of LightGBM that were damaged or made to do harm: refused, and the process goes on."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from largesse.models.boosters import booster_of

LOADS = """
import json, sys, time, lightgbm
import numpy as np
from largesse.models.boosters import booster_of
out = []
for text in json.load(open(sys.argv[1])):
    began = time.perf_counter()
    try:
        booster = booster_of(text)
        answer = booster.predict(np.zeros((3, booster.num_feature())))
        out.append(["read", len(answer)])
    except ValueError as error:
        out.append(["refused", str(error)])
    except Exception as error:
        out.append(["lightgbm", type(error).__name__ + str(error)[:80]])
    assert time.perf_counter() - began < 2
print(json.dumps(out))
"""


def texts() -> dict[str, str]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 3)), rng.integers(0, 3, 400)
    x[:, 2] = rng.integers(0, 5, 400)
    quiet = {"verbose": -1, "num_leaves": 7, "num_threads": 1}
    return {
        name: lgb.train({**quiet, **params}, lgb.Dataset(x, target, categorical_feature=[2]), 4).model_to_string()
        for name, params, target in (
            ("binary", {"objective": "binary"}, y > 0),
            ("poisson", {"objective": "poisson"}, y),
            ("classes", {"objective": "multiclass", "num_class": 3}, y),
            ("constant", {"objective": "regression"}, np.ones(400)),
        )
    }


def hostile(text: str, rng: random.Random) -> str:
    """One damage: a number, a line, an entry of a list, a size, a cut, bytes, or two texts in one."""
    lines = text.split("\n")
    body = [k for k, line in enumerate(lines) if "=" in line and k < text[: text.find("end of trees")].count("\n")]
    k = rng.choice(body)
    name, _, value = lines[k].partition("=")
    entries = value.split(" ")
    at = rng.randrange(len(entries))
    kind = rng.randrange(10)
    odd = rng.choice(
        ["-1", "99999999", "2147483647", "-2147483648", "4294967296", "1e999", "nan", "", "x", "9" * 400, "-0", "1.5"]
    )
    if kind <= 3:
        entries[at] = odd
        lines[k] = f"{name}={' '.join(entries)}"
    elif kind == 4:
        del lines[k]
    elif kind == 5:
        lines[k] = f"{name}={' '.join([*entries, odd])}"
    elif kind == 6:
        return text[: rng.randrange(len(text))]
    elif kind == 7:
        lines.insert(k, lines[rng.choice(body)])
    elif kind == 8:
        lines[k] = f"{name}=" + " ".join(rng.choice(["0", "1", "-1", "2", "-3"]) for _ in entries)
    else:
        start = rng.randrange(len(text))
        return (
            text[:start] + rng.choice(["\x00", "\xff", "\n\n", "=", "Tree=0\n"]) * rng.randrange(1, 50) + text[start:]
        )
    return resized("\n".join(lines)) if rng.random() < 0.6 else "\n".join(lines)


def resized(text: str) -> str:
    """The text with tree_sizes that fit its trees again, as one who means harm would write them."""
    start, end = text.find("Tree=0"), text.find("end of trees")
    if start < 0 or end < 0:
        return text
    parts = re.split(r"(?=^Tree=\d+$)", text[start:end], flags=re.M)
    sizes = " ".join(str(len(part.encode())) for part in parts if part)
    return re.sub(r"^tree_sizes=.*$", f"tree_sizes={sizes}", text, count=1, flags=re.M)


def read(tmp_path: Path, given: list[Any]) -> list[list[Any]]:
    place = tmp_path / "texts.json"
    place.write_text(json.dumps(given))
    done = subprocess.run([sys.executable, "-c", LOADS, str(place)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the process ended: {done.returncode} {done.stderr[-500:]}"
    return json.loads(done.stdout.splitlines()[-1])


def test_sound_texts_are_read_with_the_same_predictions():
    x = np.random.default_rng(1).normal(size=(50, 3))
    for name, text in texts().items():
        np.testing.assert_array_equal(booster_of(text).predict(x), lgb.Booster(model_str=text).predict(x), err_msg=name)


def test_hundreds_of_hostile_texts_end_no_process(tmp_path: Path):
    rng = random.Random(0)
    given = [hostile(text, rng) for text in texts().values() for _ in range(75)]
    results = read(tmp_path, [*given, "", "tree", None, 5, [], "x" * 1000])
    assert len(results) == 306
    counts = {kind: sum(one[0] == kind for one in results) for kind in ("read", "refused", "lightgbm")}
    assert counts["lightgbm"] == 0, [one for one in results if one[0] == "lightgbm"]
    assert counts["refused"] >= 150


BROKEN = {
    "branches": (r"left_child=.*", "left_child=0 0 0 0 0 0", "do not form a tree"),
    "feature": (r"split_feature=.*", "split_feature=9 9 9 9 9 9", "a feature that does not exist"),
    "decision": (r"decision_type=.*", "decision_type=77 2 2 2 2 2", "unknown type"),
    "leaves": (r"num_leaves=7", "num_leaves=70000", "leaf_value of tree 0 has not 70000 entries"),
    "many": (r"num_leaves=7", "num_leaves=70000000000", "num_leaves of tree 0 is not"),
    "size": (r"tree_sizes=\d+", "tree_sizes=5", "tree 0|tree 1"),
    "classes": (r"num_class=1", "num_class=3", "the number of trees in an iteration"),
    "objective": (r"objective=.*", "objective=rm", "the objective is unknown"),
    "linear": (r"is_linear=0", "is_linear=1", "linear leaves"),
    "names": (r"feature_names=.*", "feature_names=a", "does not name 3 features"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said(name: str):
    old, new, words = BROKEN[name]
    text = re.sub(old, new, texts()["binary"], count=1)
    with pytest.raises(ValueError, match=words):
        booster_of(resized(text) if name != "size" else text)
