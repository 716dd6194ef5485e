"""A studio that listens on the loopback address, for tests in a browser."""

from __future__ import annotations

import socket
import threading
import time

from largesse.web.access import Access
from largesse.web.app import studio_app
from largesse.web.opened import Studio

__all__ = ["Listening"]


class Listening:
    """Serves a studio in a thread.

    Args:
        studio: What is open.

    Attributes:
        base: Its address.
        link: The link that lets a browser in, any number of times.
    """

    def __init__(self, studio: Studio) -> None:
        import uvicorn

        listening = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.link = f"{self.base}/enter?token=t"
        app = studio_app(studio, Access("t", reusable=True), hosts=frozenset({"127.0.0.1"}))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Stops the server."""
        self.server.should_exit = True
        self.thread.join(10)
