"""Saving and loading without pickle: a folder with ``manifest.json`` and ``arrays.safetensors``, written atomically.

Loading reads numbers and JSON and never executes code.

    saved/
      manifest.json         format, package version, kind, settings, and the checksum of the arrays
      arrays.safetensors    named arrays
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from largesse import _check
from largesse._arguments import checked
from largesse._files import MANIFEST, PathLike, atomic_folder, read_bounded, read_entries, writing
from largesse.errors import SchemaError, StoreError

__all__ = ["FORMAT", "Saved", "load", "nest", "save", "unnest"]

FORMAT = 1
_LARGEST_MANIFEST, _LARGEST_ARRAYS = 1 << 29, 1 << 34  # bytes
ARRAYS = "arrays.safetensors"
_KEYS = ("package", "kind", "settings", "settings_sha256", "arrays_sha256")
_DTYPES = frozenset(
    ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)


class Saved(NamedTuple):
    """The content of a saved folder.

    Attributes:
        kind: Kind of the saved object, e.g. ``"policy"``.
        settings: Plain JSON values (a saved tuple is loaded as a list).
        arrays: Named arrays, identical to the saved ones.
    """

    kind: str
    settings: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


@checked
def save(
    path: PathLike, kind: str, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, replace: bool = False
) -> None:
    """Writes a folder that `load` reads, atomically.

    Args:
        path: The folder to create; missing parent folders are created too.
        kind: Kind of the object, e.g. ``"policy"``.
        settings: JSON values: text, finite numbers, booleans, None, lists and dicts of these.
        arrays: Named arrays of numbers or booleans.
        replace: Whether to replace an existing saved folder.

    Raises:
        StoreError: The folder exists, cannot be written, or a value cannot be saved.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/thing", "example", {"depth": 3}, {"weights": np.ones(2)})
    ...     load(folder + "/thing")
    Saved(kind='example', settings={'depth': 3}, arrays={'weights': array([1., 1.])})
    """
    # safetensors writes arrays in memory order: make them row-major first.
    packed = safetensors.numpy.save({name: _storable(path, name, array) for name, array in arrays.items()})
    manifest = {
        "format": FORMAT, "package": _version(), "kind": kind, "settings": dict(settings),
        "arrays_sha256": hashlib.sha256(packed).hexdigest(),
    }  # fmt: skip
    try:
        manifest["settings_sha256"] = _digest(manifest["settings"])
        text = json.dumps(manifest, indent=1, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: settings have no form in JSON ({error}). Give plain, finite values.") from error
    with atomic_folder(path, replace=replace) as folder, writing(path):
        (folder / ARRAYS).write_bytes(packed)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")


@checked
def load(path: PathLike) -> Saved:
    """Returns the content of a folder that `save` wrote, without executing code.

    Raises:
        StoreError: The folder is missing, incomplete, damaged, or was written by a newer version.
    """
    folder = Path(path)
    if not os.path.isdir(folder):
        what = "is a file, not a folder" if os.path.exists(folder) else "no such folder"
        raise StoreError(f"{folder}: {what}. Give the folder that `save` made ({Path.cwd()} is the current one).")
    manifest = _manifest(folder / MANIFEST)
    place = folder / ARRAYS
    packed = read_bounded(place, _LARGEST_ARRAYS)
    if _digest(manifest["settings"]) != manifest["settings_sha256"]:
        raise _damaged(folder / MANIFEST, "its settings are not those that were saved: their checksum differs")
    if hashlib.sha256(packed).hexdigest() != manifest["arrays_sha256"]:
        raise _damaged(place, "it is not the file that was saved: its checksum differs")
    try:
        arrays = safetensors.numpy.load(packed)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise _damaged(place, str(error)) from error
    writable = {name: np.require(array, requirements="W") for name, array in arrays.items()}
    return Saved(manifest["kind"], manifest["settings"], writable)


def nest(**parts: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the named arrays of several parts in one dictionary, each name prefixed with that of its part.

    >>> sorted(nest(base={"w": np.zeros(2)}, tuned={"w": np.ones(2)}))
    ['base.w', 'tuned.w']
    """
    for part, arrays in parts.items():
        if not isinstance(arrays, Mapping):
            raise _check.refuse(
                part, arrays, "must be a dictionary of arrays", "Name each array of the part.", SchemaError
            )
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


@checked
def unnest(part: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the named arrays of one part from the result of `nest`.

    >>> unnest("tuned", {"base.w": np.zeros(2), "tuned.w": np.ones(2)})
    {'w': array([1., 1.])}
    """
    prefix = f"{part}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _digest(settings: Any) -> str:
    """Returns the checksum of the settings, independent of the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _storable(path: PathLike, name: str, array: NDArray[Any]) -> NDArray[Any]:
    out = np.asarray(array, order="C")
    if out.dtype.name not in _DTYPES:
        raise StoreError(f"{os.fspath(path)}: array {name!r} holds {out.dtype}, which has no saved form. Give numbers.")
    return out


def _manifest(place: Path) -> dict[str, Any]:
    data = read_entries(place, _LARGEST_MANIFEST)
    try:
        manifest: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(place, f"it is not JSON: {error}") from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _damaged(place, "it names no format")
    if version > FORMAT:
        raise StoreError(
            f"{place}: written in format {version} by largesse {manifest.get('package')}, this version ({_version()}) "
            f"reads up to format {FORMAT}. Update with: pip install -U largesse"
        )
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise _damaged(place, f"{missing[0]!r} is missing")
    if not (isinstance(manifest["kind"], str) and isinstance(manifest["settings"], dict)):
        raise _damaged(place, "'kind' must be text and 'settings' must be an object")
    return dict(manifest)


def _damaged(place: Path, why: str) -> StoreError:
    return StoreError(f"{place}: is damaged ({why}). Copy the whole folder again, or save again.")


def _version() -> str:
    try:
        return importlib.metadata.version("largesse")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
