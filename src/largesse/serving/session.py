"""Opens an ONNX file that is checked first; what the runtime says of a damaged one becomes an error of this package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from largesse import _check
from largesse._extras import needed_for
from largesse.errors import StoreError
from largesse.serving.model_check import check_model

__all__ = ["CHUNK", "LARGEST", "Session", "first_line", "open_session"]

LARGEST = 1 << 30  # bytes of a model or a table
CHUNK = 1024  # units per call of the runtime: their features fit in cache


class Session(NamedTuple):
    """An inference session; several threads may use it at once.

    Attributes:
        session: The session of onnxruntime.
        options: Run options: compute only the requested outputs.
        place: The file, for messages.
    """

    session: Any
    options: Any
    place: Path

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        """Returns some outputs.

        Raises:
            StoreError: The runtime cannot compute them.
        """
        try:
            return list(self.session.run(outputs, feed, self.options))
        except Exception as error:  # onnxruntime has exceptions of its own
            raise StoreError(
                f"{self.place.name}: cannot be computed ({first_line(error)}). Export it again."
            ) from error


def open_session(place: Path, model: bytes, threads: int, what: str = "an export") -> Session:
    """Returns the session of a model.

    Args:
        place: Its file.
        model: Its content.
        threads: Threads per call.
        what: What wrote the file.

    Raises:
        MissingDependency: onnxruntime is not installed.
        DataError: More threads than cores.
        StoreError: The content is no such model.
    """
    with needed_for("Serving"):
        import onnxruntime
    settings = onnxruntime.SessionOptions()
    most = os.cpu_count() or 1
    settings.intra_op_num_threads = int(_check.number("threads", threads, low=1, high=max(most, 1)))
    settings.inter_op_num_threads, settings.log_severity_level = 1, 3
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    try:
        check_model(model)
        session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has exceptions of its own
        raise StoreError(
            f"{place}: is no model of {what} ({first_line(error)}). Copy the whole folder again."
        ) from error
    return Session(session, options, place)


def first_line(error: BaseException) -> str:
    """Returns the first line of a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
