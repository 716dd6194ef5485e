"""Saves models as JSON and arrays. Loading builds the classes named here and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from largesse import models
from largesse.errors import NotFittedError, StoreError
from largesse.models.base import Model

__all__ = ["SAVED_MODELS", "model_state", "restored"]

SAVED_MODELS = (
    "MLP", "Boosting", "Calibrated", "Corrected", "DFCL", "BiDFCL", "Stack", "DecisionResidual", "HRC", "Student",
    "DUM", "DRP", "DRM", "DPM", "IPS", "DRJT", "CFR", "DragonNet", "CausE", "KDLabel", "KDFeature", "LTD", "AutoDebias",
)  # fmt: skip
"""Names of the models that have a saved form: a class is loaded when one of them is saved or read."""

_GONE = {
    "FullBatch": ("chunk",),
    "Gates": ("pull",),
    "Schedule": ("warm",),
}  # settings of older saved models that no longer exist; none of them changes the fitted model
# Parameters that are more than plain values.
_PARTS = ("Outcome", "Schedule", "FullBatch", "PPL", "PIFD", "DPL", "DIFD", "Gates", "Hypergradient", "Solver", "Tasks")


_ON_DISK = {"DecisionResidual": "Steered", "conversion": "redeem", "shrinkage_weight": "strength"}
"""Name in the code -> name in saved policies, whose format stays as it is."""
_IN_CODE = {there: here for here, there in _ON_DISK.items()}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Returns a saved value with other names in its keys, part by part of a path like ``"value.mean"``."""
    if isinstance(value, dict):
        return {".".join(names.get(part, part) for part in k.split(".")): _renamed(v, names) for k, v in value.items()}
    return [_renamed(v, names) for v in value] if isinstance(value, list) else value


def model_state(model: Model) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Returns a fitted model as JSON values and arrays."""
    recipe = _plain(model)
    if not hasattr(model, "treatments_"):
        raise NotFittedError(f"{type(model).__name__}: not fitted. Call fit(rct, obs) first.")
    settings, arrays = model.state()
    return {
        "recipe": _renamed(recipe, _ON_DISK), "outcome": asdict(model.outcome_), "treatments": list(model.treatments_),
        "features": list(model.features_), "state": _renamed(settings, _ON_DISK),
    }, _renamed(arrays, _ON_DISK)  # fmt: skip


def restored(saved: Mapping[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    """Returns the fitted model that gave this state."""
    model: Model = _live(_renamed(saved["recipe"], _IN_CODE))
    model.outcome_ = _live({"Outcome": saved["outcome"]})
    model.treatments_, model.features_ = tuple(saved["treatments"]), tuple(saved["features"])
    model.restore(_renamed(saved["state"], _IN_CODE), _renamed(arrays, _IN_CODE))
    return model


def _plain(value: Any) -> Any:
    """Returns a model's parameter as JSON values: an object becomes {class: content}."""
    if isinstance(value, Model):
        name = type(value).__name__
        if name not in SAVED_MODELS or getattr(models, name) is not type(value):
            raise StoreError(
                f"model {name}: has no saved form without pickle, only {', '.join(SAVED_MODELS)} have. "
                "Use one of them, or keep the training script and fit again."
            )
        # Callbacks and checkpoints are not part of the fitted model.
        given = {k: v for k, v in value.get_params(deep=False).items() if k not in ("on_step", "checkpoint")}
        return {name: {k: _plain(v) for k, v in given.items()}}
    if is_dataclass(value) and type(value).__name__ in _PARTS:
        return {type(value).__name__: {f.name: _plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, dict):
        return {"dict": {k: _plain(v) for k, v in value.items()}}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_plain(v) for v in value]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StoreError(f"model parameter {value!r}: a {type(value).__name__} has no saved form. Give plain values.")


def _live(saved: Any) -> Any:
    """Returns the value that `_plain` was given; builds only the classes named in this module."""
    if not isinstance(saved, dict):
        return saved
    ((kind, content),) = saved.items()
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(map(_live, content))
    if kind == "dict":
        return {k: _live(v) for k, v in content.items()}
    if kind == "Decision":  # as runs were saved before each decision loss had a class of its own
        return _decision(content)
    if kind in _PARTS:
        gone = _GONE.get(kind, ())
        given = {k: tuple(v) if isinstance(v, list) else _live(v) for k, v in content.items() if k not in gone}
        return getattr(models, kind)(**given)
    if kind not in SAVED_MODELS:
        raise StoreError(
            f"saved model {kind!r}: this version reads {', '.join(SAVED_MODELS)}. Update with: pip install -U largesse"
        )
    return getattr(models, kind)(**{k: _live(v) for k, v in content.items()})


def _decision(content: dict[str, Any]) -> Any:
    """Returns the decision loss of an older saved model, without the settings that its kind ignored."""
    made = getattr(models, str(content["kind"]).upper())
    known = {field.name for field in fields(made)}
    given = {k: _live(v) for k, v in content.items() if k in known}
    if not made.soft and given.get("variance") == "dr":  # a hard policy's loss used the menu as a baseline
        given["variance"] = "baseline"
    return made(**given)
