"""The parent process: it holds the socket, replaces workers that die, and reloads or stops without losing a request."""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

from prometheus_client import multiprocess
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import Multiprocess

from largesse.errors import ConfigError, LargesseError, StoreError
from largesse.serving.http.begin import begin, maker
from largesse.serving.http.connection import Connection
from largesse.serving.http.logs import logging_config
from largesse.serving.http.settings import Settings

if TYPE_CHECKING:
    from largesse.serving.http.app import App

__all__ = ["serve"]

_HEALTH = 15  # seconds in which a worker must answer its parent, and start
_log = logging.getLogger("largesse.serving")


def serve(load: Callable[[], Settings]) -> None:
    """Serves until a signal stops it: TERM and INT let requests in progress end, HUP reads the configuration again.

    Args:
        load: Returns the configuration; called again on HUP, when host, port, workers and store stay.

    Raises:
        LargesseError: The configuration is refused, or the store or a run cannot be opened.
    """
    settings = load()
    server = settings.server
    logging.config.dictConfig(logging_config(server.log))
    sentences = begin(settings)
    listener = _listen(server.host, server.port)
    with tempfile.TemporaryDirectory(prefix="largesse-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = _config(settings)
        _announce(settings, listener, sentences)
        parent = _Supervisor(config, [listener], load, settings)
        parent.run()
    listener.close()
    if any(process.exitcode == STARTUP_FAILURE for process in parent.processes):
        raise StoreError("server: a worker could not start, so the server ended. Its log says why.")


def _config(settings: Settings) -> Config:
    server = settings.server
    connection: Any = partial(Connection, patience=server.read_timeout)
    return Config(
        partial(_make_app, settings), factory=True, workers=server.workers, log_config=logging_config(server.log),
        http=connection, lifespan="on", access_log=False, server_header=False, proxy_headers=False, ws="none",
        timeout_keep_alive=30, timeout_graceful_shutdown=int(max(1, server.grace)), timeout_worker_healthcheck=_HEALTH,
    )  # fmt: skip


def _make_app(settings: Settings) -> App:
    """Returns the application, in the worker; a worker without a parent ends, so that its address becomes free."""
    from largesse.serving.http.app import App  # the parent does without FastAPI: it starts sooner, and is smaller

    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=follow, name="parent", daemon=True).start()
    return App(maker(settings), alone=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(
            f"server.port == {port}: cannot listen at {host} ({reason}). Choose another port or address."
        ) from None
    listener.set_inheritable(True)
    return listener


def _announce(settings: Settings, listener: socket.socket, sentences: list[str]) -> None:
    for sentence in sentences:
        _log.info("%s", sentence)
    host, port = listener.getsockname()[:2]
    place = f"[{host}]" if ":" in host else host
    server = settings.server
    keys = "Callers need a key" if server.keys else "Callers need no key"
    many = f"{server.workers} worker processes" if server.workers > 1 else "one worker process"
    _log.info("Serving at http://%s:%s with %s. %s.", place, port, many, keys)


class _Supervisor(Multiprocess):
    """uvicorn's parent of workers, which checks a new configuration before it replaces workers."""

    def __init__(
        self, config: Config, sockets: list[socket.socket], load: Callable[[], Settings], settings: Settings
    ) -> None:
        super().__init__(config, sockets)
        self.load, self.settings = load, settings

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that died."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        after = {process.pid for process in self.processes}
        for pid in before - after:
            if pid is not None:
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
                _log.warning("Worker %s died; another one took its place.", pid)

    def handle_hup(self) -> None:
        """Reads the configuration again and replaces the workers one by one; one that is refused changes nothing."""
        try:
            settings = self.load()
            kept = ("host", "port", "workers", "store")
            same = {name: getattr(self.settings.server, name) for name in kept}
            settings = settings.model_copy(update={"server": settings.server.model_copy(update=same)})
            sentences = begin(settings)
        except LargesseError as error:
            _log.error("The configuration is refused, and the old one stays: %s", error)
            return
        self.settings, self.config = settings, _config(settings)
        for sentence in sentences:
            _log.info("%s", sentence)
        self.restart_all()
