"""Students of clusters: what they keep of the teacher, as Python and as what a server reads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from largesse.allocate import Chance, plan_clusters
from largesse.errors import DataError, InfeasibleBudget, MissingDependency, NotFittedError, SchemaError, StoreError
from largesse.evaluate import compare
from largesse.evaluate.comparison import Bootstrap
from largesse.models import HRC, MLP, Boosting, Schedule, Student
from largesse.models.clusters.classifier import temperature
from largesse.models.clusters.student import _calibration_error
from largesse.policy.saved import model_state, restored
from largesse.serving import export
from largesse.serving.runtime import MODEL, TABLE, Served, table_digest
from tests.common.worlds import orders

pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")

FAST = Schedule(epochs=2, least=150, batch=256)
NET = MLP(members=1, hidden=(16, 8), schedule=FAST)
FORMS = ("folded", "mlp", "lightgbm")
TRIAL, FRESH = orders(5000), orders(3000, seed=9)


@pytest.fixture(scope="module")
def teacher() -> HRC:
    two = MLP(members=2, hidden=(16, 8), schedule=FAST)
    return HRC(two, sizes=(16,), least=80).fit(TRIAL)


@pytest.fixture(scope="module")
def students(teacher: HRC) -> dict[str, Student]:
    quick = Schedule(epochs=10, least=600, batch=256)
    return {form: Student(form=form, schedule=quick).distil(teacher, TRIAL.x) for form in FORMS}


@pytest.fixture(scope="module")
def folders(students: dict[str, Student], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("exports")
    for form, student in students.items():
        export(student, FRESH.x, BUDGETS, place / form)
    return {form: place / form for form in FORMS}


BUDGETS = (900.0, 100.0, 300.0)


def test_folded_is_the_teacher(teacher: HRC, students: dict[str, Student]):
    assert len(teacher.groups_.centres) > teacher.groups_.into.max() + 1, "some clusters must have been merged"
    menu, own = students["folded"].predict(FRESH.x), teacher.predict(FRESH.x)
    same = students["folded"].clusters(FRESH.x) == teacher.clusters(FRESH.x)
    assert same.mean() > 0.999  # single against double precision, between two clusters
    np.testing.assert_array_equal(menu.value[same], own.value[same])
    d = teacher.distances(FRESH.x)
    np.testing.assert_array_equal(d.argmin(1), teacher.clusters(FRESH.x))


@pytest.mark.parametrize("form", FORMS)
def test_a_student_answers_with_its_teachers_cells(form: str, teacher: HRC, students: dict[str, Student]):
    student = students[form]
    of, menu, cells = student.clusters(FRESH.x), student.predict(FRESH.x), student.cells(FRESH.x)
    np.testing.assert_array_equal(menu.value, cells.value[of])
    np.testing.assert_array_equal(cells.size, np.bincount(of, minlength=len(cells.size)))
    np.testing.assert_array_equal(cells.value, teacher.cells(FRESH.x).value)
    chance = student.probabilities(FRESH.x)
    np.testing.assert_allclose(chance.sum(1), 1)
    np.testing.assert_array_equal(chance.argmax(1), of)


@pytest.mark.parametrize(("form", "least"), [("mlp", 0.85), ("lightgbm", 0.6)])
def test_a_learned_student_is_mostly_its_teacher_and_knows_how_sure_it_is(
    form: str, least: float, students: dict[str, Student]
):
    found = students[form].fidelity(FRESH.x)
    assert found.agreement > least
    assert found.log_loss < found.raw_log_loss
    assert found.ece < 0.06
    assert students[form].temperature_ != 1


@pytest.mark.parametrize("form", FORMS)
def test_it_loses_little_value(form: str, teacher: HRC, students: dict[str, Student]):
    menus = {"teacher": teacher.predict(FRESH.x), "student": students[form].predict(FRESH.x)}
    table = compare(FRESH, menus, [0.1, 0.2], bootstrap=Bootstrap(draws=50))
    assert (table.difference_high[1] >= -0.005).all()


def test_the_temperature_is_found():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20_000, 4)) * 2
    label = (softmax(scores, axis=1).cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert temperature(3 * scores, label) == pytest.approx(3, rel=0.05)


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]])
    # 0.9 twice, one of them right; 0.7 wrong; 0.6 right: |1.8 - 1| + |0.7 - 0| + |0.6 - 1|
    assert _calibration_error(p, np.array([0, 1, 0, 1])) == pytest.approx((0.8 + 0.7 + 0.4) / 4)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_saved_without_pickle(form: str, students: dict[str, Student]):
    again = restored(*model_state(students[form]))
    assert isinstance(again, Student)
    np.testing.assert_array_equal(again.probabilities(FRESH.x), students[form].probabilities(FRESH.x))
    np.testing.assert_array_equal(again.predict(FRESH.x).cost, students[form].predict(FRESH.x).cost)


def test_sums_of_leaves_are_exact(students: dict[str, Student]):
    trees = students["lightgbm"].classifier_
    full = trees.booster.predict(FRESH.x, raw_score=True) + trees.start
    np.testing.assert_array_equal(full, full.astype(np.float32))


def thresholds(student: Student) -> dict[int, NDArray[np.float64]]:
    """Returns the thresholds of the trees, by feature."""
    cuts: dict[int, list[float]] = {}

    def walk(branch: dict[str, Any]) -> None:
        if "threshold" in branch:
            cuts.setdefault(branch["split_feature"], []).append(branch["threshold"])
            walk(branch["left_child"])
            walk(branch["right_child"])

    for tree in student.classifier_.booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return {feature: np.array(found) for feature, found in cuts.items()}


def test_trees_answer_alike_at_their_thresholds(teacher: HRC, tmp_path: Path):
    x = TRIAL.x.copy()
    x[:, 1] = np.round(x[:, 1])  # many zeros: LightGBM cuts just above and just below them
    student = Student(form="lightgbm").distil(teacher, x)
    export(student, x, BUDGETS, tmp_path / "out")
    rng, rows, cuts = np.random.default_rng(0), FRESH.x.copy(), thresholds(student)
    for feature, found in cuts.items():  # on a threshold, just above or just below it
        at = rng.choice(found, len(rows)).astype(np.float32)
        aside = np.nextafter(at, rng.choice(np.array([-np.inf, np.inf], np.float32), len(rows)))
        rows[:, feature] = np.where(rng.random(len(rows)) < 0.5, at, aside)
    every = np.concatenate(list(cuts.values()))
    assert (every.astype(np.float32) > every).any(), "plain rounding would send rows the other way"
    assert ((every < 0) & (every > -1e-30)).any(), "LightGBM reads so small a number as 0"
    served = Served.load(tmp_path / "out")
    for one in (rows, np.where(np.abs(rows) < 0.3, np.float32(1e-35) * np.sign(rows), rows), FRESH.x):
        np.testing.assert_array_equal(served.classes(one), student.clusters(one))
        np.testing.assert_allclose(served.probabilities(one), student.probabilities(one), atol=2e-6)


@pytest.mark.parametrize("form", ["folded", "mlp"])
def test_networks_answer_alike(form: str, students: dict[str, Student], folders: dict[str, Path]):
    served, chance = Served.load(folders[form]), students[form].probabilities(FRESH.x)
    np.testing.assert_allclose(served.probabilities(FRESH.x), chance, atol=1e-4)
    best = np.sort(chance, axis=1)
    sure = best[:, -1] - best[:, -2] > 1e-3
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(served.classes(FRESH.x)[sure], students[form].clusters(FRESH.x)[sure])


def test_the_table_is_the_plans(students: dict[str, Student], folders: dict[str, Path]):
    served, student = Served.load(folders["lightgbm"]), students["lightgbm"]
    plans = plan_clusters(student.cells(FRESH.x), sorted(BUDGETS))
    assert served.budgets.tolist() == sorted(BUDGETS)
    assert (served.units, served.treatments, served.features) == (FRESH.n, FRESH.treatments, FRESH.features)
    of = student.clusters(FRESH.x)
    for asked, plan in ((100, plans[0]), (299, plans[0]), (300, plans[1]), (10**9, plans[2])):
        np.testing.assert_array_equal(served.decide(FRESH.x, asked), plan.treatment[of])
    assert plans[0].treatment.tolist() != plans[2].treatment.tolist()
    one = served.decide(FRESH.x[:1], 300)
    assert one.tolist() == plans[1].treatment[of[:1]].tolist()


def test_a_plan_under_risk_is_served(students: dict[str, Student], tmp_path: Path):
    plans = export(students["folded"], FRESH.x, [300.0], tmp_path / "safe", risk=Chance(0.05))
    assert plans[0].overspends <= 0.05
    assert Served.load(tmp_path / "safe").plan(300).tolist() == plans[0].treatment.tolist()


def test_what_a_server_cannot_answer_is_refused(folders: dict[str, Path]):
    served = Served.load(folders["folded"])
    with pytest.raises(DataError, match=r"budget == 99: must be >= 100, the smallest budget"):
        served.decide(FRESH.x, 99)
    with pytest.raises(SchemaError, match=r"reads 4 features"):
        served.decide(FRESH.x[:, :3], 300)
    with pytest.raises(DataError, match=r"x\[0, 1\] == nan"):
        served.decide(np.array([[0, np.nan, 0, 0]]), 300)
    with pytest.raises(DataError, match=r"x.ndim == 1"):
        served.decide(FRESH.x[0], 300)


def test_a_damaged_export_is_refused(students: dict[str, Student], tmp_path: Path):
    place = tmp_path / "out"
    export(students["mlp"], FRESH.x, [300.0], place)
    good = (place / TABLE).read_text()
    for broken, words in (
        (good.replace('"format": 1', '"format": 2'), "written in format 2"),
        (good[:-20], "is no table"),
        (json.dumps(json.loads(good) | {"classes": 3}), "is no table"),
    ):
        (place / TABLE).write_text(broken)
        with pytest.raises(StoreError, match=words):
            Served.load(place)
    (place / TABLE).write_text(good)
    (place / MODEL).write_bytes((place / MODEL).read_bytes()[:-1])
    with pytest.raises(StoreError, match="is not the file that was exported"):
        Served.load(place)
    (place / MODEL).unlink()
    with pytest.raises(StoreError, match="Copy the whole folder"):
        Served.load(place)
    with pytest.raises(StoreError, match="no such file"):
        Served.load(tmp_path / "nowhere")


BAD_TABLES: dict[str, tuple[dict[str, Any], str]] = {
    "a code that no treatment has": ({"treatment": [[99] * 1]}, "is no table"),
    "budgets that fall": ({"budgets": [900.0, 300.0, 100.0]}, "budgets must be finite and rise"),
    "features in another order": ({"features": None}, "its checksum differs"),
    "a treatment without a name": ({"treatments": ["none", ""]}, "treatments must be a list of names"),
    "two features of one name": ({"features": ["a", "a"]}, "features must differ"),
    "no classes": ({"classes": 0}, "classes and units"),
    "no units": ({"units": -5}, "classes and units"),
    "text for budgets": ({"budgets": ["a", "b", "c"]}, "is no table"),
    "a number of another kind": ({"classes": 2.5}, "classes and units"),
    "a value that was changed": ({"value": [1.0, 2.0, 3.0]}, "its checksum differs"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_by_which_no_server_can_decide_is_refused(folders: dict[str, Path], tmp_path: Path, name: str):
    change, words = BAD_TABLES[name]
    place = shutil.copytree(folders["mlp"], tmp_path / "out")
    table = json.loads((place / TABLE).read_text())
    if name == "features in another order":
        change = {"features": table["features"][::-1]}
    (place / TABLE).write_text(json.dumps(table | change))
    with pytest.raises(StoreError, match=words):
        Served.load(place)


def test_hostile_models_and_tables_end_no_process(folders: dict[str, Path], tmp_path: Path):
    """A hundred models with a checksum that fits, as one who means harm would write it, and a hundred tables."""
    rng = np.random.default_rng(0)
    model, table = (folders["mlp"] / MODEL).read_bytes(), json.loads((folders["mlp"] / TABLE).read_text())
    for k in range(100):
        data = bytearray(model)
        at = int(rng.integers(0, len(data) - 8))
        kind = k % 4
        if kind == 0:
            data[at : at + 4] = rng.bytes(4)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = rng.bytes(20)
        else:
            data[at : at + 8] = b"\xff" * 8
        place = tmp_path / f"m{k}"
        place.mkdir()
        (place / MODEL).write_bytes(data)
        fitting = table | {"model_sha256": hashlib.sha256(data).hexdigest()}
        (place / TABLE).write_text(json.dumps(fitting | {"table_sha256": table_digest(fitting)}))
        text = bytearray(json.dumps(table).encode())
        text[at % len(text)] = int(rng.integers(0, 256))
        place = shutil.copytree(folders["mlp"], tmp_path / f"t{k}")
        (place / TABLE).write_bytes(text)
    script = (
        "import sys, time, numpy as np; from pathlib import Path; from largesse.errors import LargesseError\n"
        "from largesse.serving.runtime import Served\n"
        "for place in sorted(Path(sys.argv[1]).glob('[mt]*')):\n"
        "    began = time.perf_counter()\n"
        "    try: Served.load(place).decide(np.zeros((2, int(sys.argv[2])), np.float32), 1e9)\n"
        "    except LargesseError as error: print('refused', error)\n"
        "    except Exception as error: print('other', type(error).__name__, error)\n"
        "    assert time.perf_counter() - began < 2"
    )
    words = [sys.executable, "-c", script, str(tmp_path), str(FRESH.x.shape[1])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-400:])
    lines = done.stdout.splitlines()
    assert sum(line.startswith("refused") for line in lines) >= 120
    assert [line for line in lines if line.startswith("other")] == []


def test_what_is_no_file_or_far_too_large_is_not_read(folders: dict[str, Path], tmp_path: Path):
    place = shutil.copytree(folders["mlp"], tmp_path / "out")
    (place / TABLE).unlink()
    os.mkfifo(place / TABLE)
    with pytest.raises(StoreError, match="is no file"):
        Served.load(place)
    (place / TABLE).unlink()
    with open(place / TABLE, "wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(StoreError, match="at most .* are read"):
        Served.load(place)
    with pytest.raises(DataError, match="threads"):
        Served.load(folders["mlp"], threads=4096)


def test_an_export_is_whole_or_not_at_all(
    students: dict[str, Student], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "out"
    with pytest.raises(InfeasibleBudget):
        export(students["folded"], FRESH.x, [-1.0], place)
    export(students["folded"], FRESH.x, [300.0], place)
    with pytest.raises(StoreError, match="exists already"):
        export(students["mlp"], FRESH.x, [300.0], place)
    before = (place / MODEL).read_bytes()
    monkeypatch.setattr(students["mlp"], "temperature_", np.nan)  # the runtime then cannot say what the student says
    with pytest.raises(StoreError, match="differ by nan"):
        export(students["mlp"], FRESH.x, [300.0], place, replace=True)
    monkeypatch.undo()
    whole = Served.probabilities

    def off_in_one_row(self: Served, x: Any) -> Any:
        p = whole(self, x)
        p[len(p) // 2] += 0.001
        return p

    monkeypatch.setattr(Served, "probabilities", off_in_one_row)
    with pytest.raises(StoreError, match="differ by 0.001"):
        export(students["folded"], FRESH.x, [300.0], place, replace=True)
    assert (place / MODEL).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


ALONE = """
import sys
for name in ("torch", "lightgbm", "scipy", "sklearn", "pandas", "pyarrow", "numba", "safetensors", "onnx", "pydantic"):
    sys.modules[name] = None
import numpy as np
from largesse.serving.runtime import Served
print(Served.load(sys.argv[1]).decide(np.zeros((2, 4)), 300).shape)
"""


def test_a_server_needs_onnxruntime_and_numpy_only(folders: dict[str, Path]):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folders["lightgbm"])], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(2,)", done.stderr


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_is_missing_is_named(
    package: str, students: dict[str, Student], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"'{package}'. Install it with: pip install 'largesse\[serve\]'"):
        export(students["folded"], FRESH.x, [300.0], tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_one_cluster_is_served_too(form: str, tmp_path: Path):
    alone = HRC(NET, sizes=(1,)).fit(orders(600))
    student = Student(form=form, schedule=FAST, rounds=2).distil(alone, TRIAL.x[:600])
    export(student, FRESH.x, [0.0, 1e6], tmp_path / "out")
    assert set(Served.load(tmp_path / "out").classes(FRESH.x)) == {0}
    assert student.probabilities(FRESH.x).min() == 1


def test_a_wrong_parameter_is_refused_before_a_teacher_is_fitted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(HRC, "fit", lambda *_, **__: pytest.fail("the teacher was fitted"))
    for student, wording in ((Student(form="nope"), "form == 'nope'"), (Student(hidden=(0,)), "hidden")):  # type: ignore[arg-type]
        with pytest.raises(DataError, match=wording):
            student.fit(TRIAL)


def test_what_cannot_be_distilled_is_refused(teacher: HRC, tmp_path: Path):
    for student, given, words in (
        (Student(form="svm"), teacher, "form == 'svm'"),  # type: ignore[arg-type]
        (Student(softness=0), teacher, "softness == 0"),
        (Student(rounds=0), teacher, r"rounds\[0\] == 0"),
        (Student(hidden=(0,)), teacher, r"hidden\[0\] == 0"),
        (Student(), Boosting(), "only clusters can be distilled"),
    ):
        with pytest.raises(DataError, match=words):
            student.distil(given, TRIAL.x)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError, match="teacher: not fitted"):
        Student().distil(HRC(), TRIAL.x)
    for n in (7, 19):
        with pytest.raises(DataError, match=rf"len\(x\) == {n}: must be >= 20 units"):
            Student(form="mlp").distil(teacher, TRIAL.x[:n])
    Student(form="mlp").distil(teacher, TRIAL.x[:20])
    with pytest.raises(DataError, match="rows == 19"):
        Student(form="mlp", rows=19).distil(teacher, TRIAL.x)
    Student(form="mlp", rows=20).distil(teacher, TRIAL.x)
    with pytest.raises(NotFittedError, match="Student: not fitted"):
        export(Student(), TRIAL.x, [1.0], tmp_path / "out")


def test_splits_without_an_onnx_form_are_refused(teacher: HRC, tmp_path: Path):
    student = Student(form="lightgbm", rounds=3, params={"zero_as_missing": True}).distil(teacher, TRIAL.x)
    with pytest.raises(DataError, match="have an ONNX form"):
        export(student, FRESH.x, [300.0], tmp_path / "out")


def _bomb(onnx: Any, kind: str, model: Any) -> bytes:
    """A model of an export that was changed to take memory or time without end, or to read other files."""
    graph, made = model.graph, onnx.helper.make_node
    if kind == "memory":
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([4 * 10**8]), "shape"))
        graph.node.insert(0, made("ConstantOfShape", ["shape"], ["bomb"]))
        graph.node.insert(1, made("ReduceSum", ["bomb"], ["sum"], keepdims=1))
    elif kind == "axes":
        centre = next(node for node in graph.node if node.op_type == "Sub").input[1]
        tensor = next(one for one in graph.initializer if one.name == centre)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((4096, 1, FRESH.x.shape[1]), np.float32), centre))
    elif kind == "file":
        tensor = graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/hostname"
    elif kind == "nodes":
        graph.node.extend([made("Relu", ["x"], [f"more{k}"]) for k in range(10_000)])
    elif kind == "loop":
        value = onnx.helper.make_tensor_value_info
        inner = onnx.helper.make_graph(
            [made("Identity", ["go"], ["on"])], "inner",
            [value("i", onnx.TensorProto.INT64, []), value("go", onnx.TensorProto.BOOL, [])],
            [value("on", onnx.TensorProto.BOOL, [])],
        )  # fmt: skip
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(2**62), "many"))
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
        graph.node.insert(0, made("Loop", ["many", "yes"], [], body=inner))
    return bytes(model.SerializeToString())


BOMBS = {
    "memory": "a node 'ConstantOfShape', which no export writes",
    "loop": "a node 'Loop', which no export writes",
    "axes": "a tensor has 3 axes",
    "file": "a tensor is stored in another file",
    "nodes": "nodes, at most 10,000 are read",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_model_that_no_export_writes_is_refused_before_it_runs(folders: dict[str, Path], tmp_path: Path, kind: str):
    onnx = pytest.importorskip("onnx")
    place = shutil.copytree(folders["mlp"], tmp_path / "out")
    data = _bomb(onnx, kind, onnx.load(str(place / MODEL)))
    (place / MODEL).write_bytes(data)
    table = json.loads((place / TABLE).read_text()) | {"model_sha256": hashlib.sha256(data).hexdigest()}
    (place / TABLE).write_text(json.dumps(table | {"table_sha256": table_digest(table)}))
    with pytest.raises(StoreError, match=BOMBS[kind]):
        Served.load(place)


def test_a_table_of_very_many_entries_is_refused_before_it_is_parsed(folders: dict[str, Path], tmp_path: Path):
    place = shutil.copytree(folders["mlp"], tmp_path / "out")
    (place / TABLE).write_bytes(b"[" + b"[]," * 2_000_000 + b"0]")
    with pytest.raises(StoreError, match="has more than 1,000,000 entries"):
        Served.load(place)
