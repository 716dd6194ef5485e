"""A run's ONNX form in place of its model, where torch or LightGBM is not installed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from largesse._files import MANIFEST, read_bounded
from largesse.errors import DataError, StoreError
from largesse.logs import Logs
from largesse.models.base import Model
from largesse.models.outcome import Outcome, Response
from largesse.serving.graph.builder import ENCODED, FEATURES
from largesse.serving.model_check import without_encoder
from largesse.serving.policy import ABOUT, MODEL, read_about
from largesse.serving.session import CHUNK, LARGEST, Session, open_session

__all__ = ["StandIn", "policy_digest", "stand_in"]


@dataclass(kw_only=True, eq=False, repr=False)
class StandIn(Model):
    """The model of a run, computed by onnxruntime from encoded features. It cannot be fitted or saved.

    Attributes:
        session_: The inference session.
    """

    session_: Session

    def _learn(self, rct: Logs, obs: Logs | None, validation: Logs | None) -> None:
        raise DataError("model: the ONNX form of a run cannot be fitted. Fit a model of its own.", field="model")

    def _predict_response(self, x: NDArray[np.float32]) -> Response:
        price = np.zeros(1)
        parts = [
            self.session_.run(["value", "cost"], {FEATURES: x[i : i + CHUNK], "price": price})
            for i in range(0, len(x), CHUNK)
        ]
        value, cost = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Response(value, None, cost)


def stand_in(folder: Path) -> StandIn:
    """Returns the model of a run folder in its ONNX form.

    Raises:
        MissingDependency: onnxruntime is not installed.
        StoreError: The folder has no ONNX form, it is damaged, or it is that of another policy.
    """
    about, content = read_about(folder)
    if about["policy_sha256"] != policy_digest(folder / "policy"):
        raise StoreError(
            f"{folder / ABOUT}: is of another policy than {folder / 'policy'}. Copy the whole folder again."
        )
    names = tuple(about["features"])
    try:
        cut = without_encoder(content, FEATURES, ENCODED, len(names))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / MODEL}: is no model of a run. Copy the whole folder again.") from error
    model = StandIn(session_=open_session(folder / MODEL, cut, 1, "a run"))
    model.treatments_, model.features_ = tuple(about["treatments"]), names
    model.outcome_ = Outcome(family="gaussian")  # values and costs as they are
    return model


def policy_digest(policy: Path) -> str:
    """Returns the checksum of a saved policy: that of its manifest, which has those of all its parts."""
    return hashlib.sha256(read_bounded(policy / MANIFEST, LARGEST)).hexdigest()
