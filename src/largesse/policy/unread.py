"""A saved policy without its model: curve, encoder and roles, for what needs no predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse import _check, store
from largesse._files import PathLike
from largesse.errors import StoreError, why_damaged
from largesse.frames import Encoder
from largesse.policy.calibration import CalibrationCurve
from largesse.policy.curve import PriceCurve
from largesse.roles import Roles

__all__ = ["CURVE_ARRAYS", "Unread", "parts_of", "saved_policy", "undamaged"]


class Unread(NamedTuple):
    """A saved policy without its model: what the price of a budget is found with, once menus are known.

    Attributes:
        curve: As of a `Policy`.
        encoder: Likewise.
        roles: Likewise.
    """

    curve: PriceCurve
    encoder: Encoder | None
    roles: Roles | None

    @classmethod
    def load(cls, path: PathLike) -> Unread:
        """Returns these parts of a saved policy.

        Raises:
            StoreError: The folder is missing, damaged, of a newer version, or holds something else.
        """
        saved = saved_policy(path)
        with undamaged(path):
            parts = parts_of(saved)
        return parts


def saved_policy(path: PathLike) -> store.Saved:
    """Returns the content of the folder of a saved policy.

    Raises:
        StoreError: It is missing, damaged, of a newer version, or holds something else.
    """
    saved = store.load(path)
    if saved.kind != "policy":
        raise StoreError(f"{path}: holds a {saved.kind}, not a policy. Give the folder that Policy.save made.")
    return saved


def parts_of(saved: store.Saved) -> Unread:
    """Returns the parts of a saved policy that need no model."""
    settings = saved.settings
    return Unread(
        curve=_curve(settings["curve"], store.unnest("curve", saved.arrays)),
        encoder=None if settings["encoder"] is None else Encoder.from_state(settings["encoder"]),
        roles=None if settings["roles"] is None else Roles(**settings["roles"]),
    )


@contextmanager
def undamaged(path: PathLike) -> Iterator[None]:
    """Turns what torch, LightGBM and the containers say of a damaged state, each in its own words, into one error."""
    try:
        yield
    except (StoreError, ImportError):
        raise
    except Exception as error:
        raise StoreError(f"{path}: is damaged ({why_damaged(error)}). Save the policy again.") from error


# Array of a saved curve, and its field.
CURVE_ARRAYS = {
    "planned": "planned", "residual": "residual", "error": "standard_error", "noise": "noise", "margin": "margin",
    "events": "events",
}  # fmt: skip


def _curve(saved: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> PriceCurve:
    base = {
        name: _check.number("base", saved["base"][name], low=-_check.LARGEST, high=_check.LARGEST)
        for name in ("cost", "value")
    }
    unknown = {f"{name}.events": np.full(len(arrays["price"]), np.nan) for name in base}  # earlier versions saved none
    known = unknown | dict(arrays)
    cost, value = (CalibrationCurve(base[name], *(known[f"{name}.{part}"] for part in CURVE_ARRAYS)) for name in base)
    return PriceCurve(
        price=arrays["price"], cost=cost, value=value, treatments=tuple(saved["treatments"]), units=saved["units"]
    )
