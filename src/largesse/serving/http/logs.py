"""The log: one JSON line per request and event on standard error; no features, keys or bodies."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from largesse.errors import LargesseError
from largesse.serving.http.problems import Refused

__all__ = ["JsonLines", "RequestLog", "log_fault", "logging_config"]

_log = logging.getLogger("largesse.serving")


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        out = {"time": _time(record.created), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            out["trace"] = self.formatException(record.exc_info)
        return json.dumps(out)


def logging_config(level: str) -> dict[str, Any]:
    """Returns the configuration of logging: this service at its level, uvicorn's own events from warnings on."""
    quiet = "error" if level == "error" else "warning"
    loggers = {"largesse.serving": level, "uvicorn": quiet, "uvicorn.error": quiet, "uvicorn.access": "critical"}
    return {
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "largesse.serving.http.logs.JsonLines"}},
        "handlers": {"err": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "lines"}},
        "loggers": {
            name: {"handlers": ["err"], "level": at.upper(), "propagate": False} for name, at in loggers.items()
        },
    }  # fmt: skip


def log_fault(error: BaseException, request: str) -> None:
    """Writes why a request was not answered, for whoever runs the server."""
    if isinstance(error, Refused):
        return
    trace = None if isinstance(error, LargesseError) else error  # those say what to do
    _log.error("Request %s: %s: %s", request, type(error).__name__, error, exc_info=trace)


class RequestLog:
    """Writes a line for every request, all lines of one turn of the event loop at once."""

    def __init__(self) -> None:
        self.on = _log.isEnabledFor(logging.INFO)
        self._lines: list[str] = []
        self._second, self._written = 0, ""

    def write(self, method: str, route: str, status: int, seconds: float, request: str, campaign: str) -> None:
        """Adds a line; the values are of this service, so that they need no escapes."""
        if not self.on:
            return
        now = time.time()
        if (second := int(now)) != self._second:
            self._second, self._written = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        about = f',"campaign":{json.dumps(campaign)}' if campaign else ""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(
            f'{{"time":"{self._written}.{int(now % 1 * 1000):03d}Z","level":"info","method":"{method}","route":"{route}",'
            f'"status":{status},"ms":{seconds * 1e3:.2f},"request":"{request}"{about}}}\n'
        )

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
