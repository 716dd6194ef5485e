"""`init`: a commented configuration to fill in."""

from __future__ import annotations

import os
from pathlib import Path

from largesse._files import atomic_text
from largesse.config import template
from largesse.errors import StoreError

__all__ = ["write_template"]


def write_template(path: Path, data: str | None = None) -> None:
    """Writes a commented configuration, whole or not at all.

    Args:
        path: The file to write.
        data: Path of the trial's rows, to be entered there; None: a placeholder.

    Raises:
        StoreError: The file exists already, or cannot be written.
    """
    if os.path.lexists(path):
        raise StoreError(f"{path}: exists already. Choose another name, or remove it first.")
    atomic_text(path, template(data))
