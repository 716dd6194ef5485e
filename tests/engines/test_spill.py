"""Blocks on disk: read by several threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from largesse.engines.spill import SpillFolder


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before Python 3.12 two threads in `ast` at once raise a SystemError now and then."""
    blocks = SpillFolder(tmp_path, 5, 4)
    for k in range(12):
        blocks.put(np.full((2, 2, 5), float(k)), None)
    inside, most, guard, load = 0, 0, threading.Lock(), np.load

    def counted(*args: Any, **named: Any) -> Any:
        nonlocal inside, most
        with guard:
            inside, most = inside + 1, max(most, inside + 1)
        time.sleep(0.002)
        out = load(*args, **named)
        with guard:
            inside -= 1
        return out

    monkeypatch.setattr(np, "load", counted)
    assert blocks(lambda block: float(block.value[0, 0])) == list(range(12))
    assert most == 1
