"""Saved folders: exact round trips, atomic writes, and errors that name the file and the remedy."""

import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from largesse import _files, store
from largesse.errors import StoreError

ARRAYS = {
    "plain": np.arange(6.0).reshape(2, 3),
    "column major": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "strided": np.arange(20)[::3],
    "reversed": np.arange(5, dtype=np.int16)[::-1],
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3), np.uint8),
    "truth": np.array([True, False]),
    "big end": np.arange(3, dtype=">f8"),
    "odd": np.array([np.nan, np.inf, -0.0]),
}
SETTINGS = {"depth": 3, "names": ["a", "é"], "share": 0.1, "none": None, "nested": {"yes": True}}


@pytest.fixture
def saved(tmp_path):
    store.save(tmp_path / "thing", "example", SETTINGS, ARRAYS)
    return tmp_path / "thing"


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != _files.LISTING)


# ---- round trip


def test_everything_comes_back_bit_for_bit(saved):
    kind, settings, arrays = store.load(saved)
    assert (kind, settings) == ("example", SETTINGS)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable
    assert np.signbit(arrays["odd"][2])
    assert names(saved) == ["arrays.safetensors", "manifest.json"]


def test_no_arrays_and_no_settings_are_fine(tmp_path):
    store.save(tmp_path / "a" / "b" / "nothing", "example", {}, {})
    assert store.load(tmp_path / "a" / "b" / "nothing") == ("example", {}, {})


@settings(max_examples=30, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from(["f4", "f8", "i4", "u1", "?"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        fill=st.nothing(),
    )
)
def test_any_array_and_its_transpose(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("store") / "x"
    store.save(path, "example", {}, {"a": array, "t": array.T})
    arrays = store.load(path).arrays
    np.testing.assert_array_equal(arrays["a"], array)
    np.testing.assert_array_equal(arrays["t"], array.T)


# ---- whole or nothing


def test_an_older_folder_is_kept_unless_told(saved):
    with pytest.raises(StoreError, match="exists already. Choose another name, or replace it"):
        store.save(saved, "other", {}, {})
    assert store.load(saved).kind == "example"
    store.save(saved, "other", {}, {}, replace=True)
    assert store.load(saved) == ("other", {}, {})
    assert names(saved.parent) == ["thing"]


def test_a_folder_that_is_not_ours_is_never_deleted(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_text("x")
    with pytest.raises(StoreError, match="not made by largesse .manifest.json., so it is not replaced"):
        store.save(tmp_path / "photos", "other", {}, {}, replace=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="not replaced"):
        store.save(tmp_path / "file", "other", {}, {}, replace=True)
    assert names(tmp_path / "photos") == ["one.png"]
    (tmp_path / "empty").mkdir()
    store.save(tmp_path / "empty", "other", {}, {}, replace=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
@pytest.mark.parametrize("replace", [False, True])
def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch, error, replace):
    path = tmp_path / "thing"
    if replace:
        store.save(path, "older", {}, {})
    monkeypatch.setattr(store.Path, "write_text", lambda *a, **k: (_ for _ in ()).throw(error))
    with pytest.raises(StoreError if isinstance(error, OSError) else error):
        store.save(path, "example", SETTINGS, ARRAYS, replace=replace)
    monkeypatch.undo()
    assert names(tmp_path) == (["thing"] if replace else [])
    if replace:
        assert store.load(path).kind == "older"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_atomic_folder_is_removed_on_failure(tmp_path, error):
    def half_a_run():
        with _files.atomic_folder(tmp_path / "run") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "half.txt").write_text("half")
            assert names(tmp_path) == [folder.name]
            raise error

    with pytest.raises(error):
        half_a_run()
    assert names(tmp_path) == []


def test_atomic_folder_appears_at_once_and_whole(tmp_path):
    with _files.atomic_folder(tmp_path / "run") as folder:
        (folder / "report.html").write_text("x")
        assert not (tmp_path / "run").exists()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["report.html"]
    with pytest.raises(StoreError, match="exists already"), _files.atomic_folder(tmp_path / "run"):
        pytest.fail("the body must not run")
    with _files.atomic_folder(tmp_path / "run", replace=True, marker="report.html") as folder:
        (folder / "new").write_text("x")
        assert names(tmp_path / "run") == ["report.html"]
    assert names(tmp_path / "run") == ["new"]
    assert names(tmp_path) == ["run"]


def test_only_a_folder_that_was_written_by_us_gives_way_and_what_others_put_there_survives(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("config.toml", "thesis.tex"):
        (project / name).write_text("mine")
    with (
        pytest.raises(StoreError, match="was not made by largesse"),
        _files.atomic_folder(project, replace=True, marker="config.toml"),
    ):
        pytest.fail("the body must not run")
    with pytest.raises(StoreError, match="was not made by largesse"):
        _files.may_write(project, replace=True, marker="config.toml")
    assert (project / "thesis.tex").read_text() == "mine"
    run = tmp_path / "run"
    for k in (1, 2):
        with _files.atomic_folder(run, replace=True, marker="config.toml") as folder:
            (folder / "config.toml").write_text(str(k))
            (folder / f"only-{k}").write_text(str(k))
        if k == 1:
            (run / "notes.txt").write_text("mine")
            (run / "figures").mkdir()
            (run / "figures" / "a.png").write_text("mine")
    assert names(run) == ["config.toml", "figures", "notes.txt", "only-2"]
    assert (run / "figures" / "a.png").read_text() == "mine"
    assert names(tmp_path) == ["project", "run"]


def test_what_dead_runs_left_is_removed_by_the_next(tmp_path):
    script = (
        "import sys, os, signal; from largesse import _files\n"
        "with _files.atomic_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=False)
    assert [name for name in names(tmp_path) if name.endswith(".partial")]
    with _files.atomic_folder(tmp_path / "other"):
        assert len(names(tmp_path)) == 2, "of another target: not touched"
    with _files.atomic_folder(tmp_path / "run"), _files.atomic_folder(tmp_path / "run2"):
        pass
    assert names(tmp_path) == ["other", "run", "run2"]


def test_a_folder_is_replaced_by_one_renaming(tmp_path, monkeypatch):
    with _files.atomic_folder(tmp_path / "run") as folder:
        (folder / "one").write_text("x")
    monkeypatch.setattr(_files.os, "rename", lambda *_: pytest.fail("two renamings"))
    with _files.atomic_folder(tmp_path / "run", replace=True, marker="one") as folder:
        (folder / "two").write_text("x")
    assert names(tmp_path / "run") == ["two"]


def test_a_folder_that_appeared_meanwhile_is_not_overwritten(tmp_path):
    def meet():
        with _files.atomic_folder(tmp_path / "run") as folder:
            (folder / "mine").write_text("x")
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "theirs").write_text("x")

    with pytest.raises(StoreError, match="exists already"):
        meet()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["theirs"]


def test_a_failed_rename_puts_the_older_folder_back(saved, monkeypatch):
    rename = os.rename

    def fail_on_partial(a, b):
        if str(a).endswith(".partial"):
            raise OSError(5, "Input/output error")
        rename(a, b)

    monkeypatch.setattr(_files, "_exchanged", lambda *_: False)  # as on a system that cannot exchange two folders
    monkeypatch.setattr(store.os, "rename", fail_on_partial)
    with pytest.raises(StoreError, match="Input/output error"):
        store.save(saved, "other", {}, {}, replace=True)
    monkeypatch.undo()
    assert store.load(saved).kind == "example"
    assert names(saved.parent) == ["thing"]


def test_atomic_text(tmp_path, monkeypatch):
    _files.atomic_text(tmp_path / "a.json", "é\n")
    assert (tmp_path / "a.json").read_bytes() == b"\xc3\xa9\n"
    monkeypatch.setattr(store.os, "replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _files.atomic_text(tmp_path / "a.json", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "é\n"
    assert names(tmp_path) == ["a.json"]
    with pytest.raises(StoreError, match=r"cannot be written \(No such file or directory\)"):
        _files.atomic_text(tmp_path / "missing" / "a.json", "x")


def test_a_pipe_or_a_device_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    os.symlink("pipe.csv", tmp_path / "link.csv")  # as /dev/stdout is one
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "link.csv", "folder.csv"):
        with pytest.raises(StoreError, match=f"{name}: cannot be written .it is a .*which no file replaces"):
            _files.atomic_text(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)
    assert names(tmp_path) == ["folder.csv", "link.csv", "pipe.csv"]


def test_a_manifest_of_very_many_entries_is_refused_before_it_is_parsed(saved):
    (saved / "manifest.json").write_bytes(b"[" + b"[]," * 3_000_000 + b"0]")
    with pytest.raises(StoreError, match="has more than 1,000,000 entries"):
        store.load(saved)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_impossible_names_are_refused(tmp_path, name):
    with pytest.raises(StoreError, match="no such folder"):
        store.load(tmp_path / name)
    with pytest.raises(StoreError, match="cannot be written"):
        store.save(tmp_path / name, "example", {}, {})


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"file.thing: cannot be written"):
        store.save(tmp_path / "file" / "thing", "example", {}, {})


# ---- refusals


def test_what_has_no_saved_form_is_refused_before_anything_is_written(tmp_path):
    for settings_, arrays, words in (
        ({"f": print}, {}, "no form in JSON"),
        ({"x": float("nan")}, {}, "no form in JSON"),
        ({}, {"o": np.array([print])}, "array 'o' holds object"),
        ({}, {"s": np.array(["a"])}, "array 's' holds <U1"),
        ({}, {"d": np.array(["2020-01-01"], "M8[D]")}, "array 'd' holds datetime64"),
    ):
        with pytest.raises(StoreError, match=words):
            store.save(tmp_path / "thing", "example", settings_, arrays)
    assert names(tmp_path) == []


def edit(saved, **changes):
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest.update(changes)
    (saved / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2, "package": "9.9"}, r"written in format 2 by largesse 9.9.*pip install -U largesse"),
        ({"format": None}, "names no format"),
        ({"format": "1"}, "names no format"),
        ({"format": True}, "names no format"),
        ({"settings": None}, "'settings' is missing"),
        ({"settings": [1]}, "'settings' must be an object"),
        ({"kind": 3}, "'kind' must be text"),
        ({"arrays_sha256": "0"}, r"arrays.safetensors: is damaged \(.*checksum differs"),
    ],
)
def test_a_wrong_manifest_is_refused(saved, changes, words):
    edit(saved, **changes)
    with pytest.raises(StoreError, match=words):
        store.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff", "[" * 100_000, '{"format": ' + "9" * 10_000 + "}"])
def test_a_manifest_that_is_no_manifest(saved, text):
    (saved / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="manifest.json: "):
        store.load(saved)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:4], lambda b: b[:-3] + b"\x01" + b[-2:]]
)
def test_damaged_arrays_are_refused_with_or_without_the_right_checksum(saved, damage):
    packed = (saved / "arrays.safetensors").read_bytes()
    (saved / "arrays.safetensors").write_bytes(damage(packed))
    with pytest.raises(StoreError, match="arrays.safetensors: is damaged.*or save again"):
        store.load(saved)
    if len(damage(packed)) < len(packed):
        edit(saved, arrays_sha256=hashlib.sha256(damage(packed)).hexdigest())
        with pytest.raises(StoreError, match="arrays.safetensors: is damaged"):
            store.load(saved)


def test_missing_files_and_folders_are_named(saved, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere: no such folder. Give the folder"):
        store.load(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="manifest.json: is a file, not a folder"):
        store.load(saved / "manifest.json")
    (saved / "arrays.safetensors").unlink()
    with pytest.raises(StoreError, match="arrays.safetensors: no such file. The folder is incomplete"):
        store.load(saved)
    (saved / "manifest.json").unlink()
    with pytest.raises(StoreError, match="manifest.json: no such file"):
        store.load(saved)


def test_a_pickle_in_the_place_of_the_arrays_is_not_executed(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    for name in ("arrays.safetensors", "manifest.json"):
        (saved / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(StoreError):
            store.load(saved)
    assert not (tmp_path / "executed").exists()


def test_files_are_readable_by_others_as_the_umask_says(saved):
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o777 & ~mask
    assert stat.S_IMODE((saved / "manifest.json").stat().st_mode) == 0o666 & ~mask


def test_changed_settings_are_noticed(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["settings"]["changed"] = 1
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="its settings are not those that were saved"):
        store.load(saved)
