"""Small runs made by hand, and the HTTP service over them within one process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra 'serve' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'serve' is not installed")
pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("msgspec", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")
pytest.importorskip("httpx", reason="the extra 'dev' is not installed")

import httpx
import onnx
from onnx import TensorProto, helper

from largesse.serving.http.access import ROLES, create_key
from largesse.serving.http.app import App
from largesse.serving.http.begin import begin, make_service
from largesse.serving.http.settings import load_settings
from largesse.serving.ledger.book import Ledger
from largesse.serving.policy import ABOUT, MODEL, about_digest

TREATMENTS = ("none", "coupon", "gift")
VALUE, COST = (0.0, 1.0, 3.0), (0.0, 1.0, 4.0)
"""Value of each treatment for a unit of age 40 from the north, and its cost. Value is in proportion to the age, 0 where it
is missing; elsewhere than in the north, 1 is added to the value of the gift."""
NORTH = {"age": 40, "city": "north", "since": "2026-01-01"}


def make_run(
    folder: Path,
    *,
    cost: tuple[float, ...] = COST,
    treatments: tuple[str, ...] = TREATMENTS,
    price: float | None = 0.5,
    extra: str = "",
    members: tuple[float, ...] = (),
) -> Path:
    """Writes a run folder: its ONNX form alone; `extra` names a column of numbers that it reads and does not use.

    With weights of two members it is an ensemble: the first predicts its menu, the second that no treatment brings anything.
    """
    folder.mkdir(parents=True)
    names = ("age", "city", "since", *([extra] if extra else []))
    tensor = helper.make_tensor_value_info
    inputs = [tensor(name, TensorProto.STRING if name == "city" else TensorProto.DOUBLE, [None, 1]) for name in names]
    inputs.append(tensor("price", TensorProto.DOUBLE, [1]))
    outputs = [tensor(name, TensorProto.DOUBLE, [None, len(cost)]) for name in ("value", "cost")]
    outputs += [
        tensor(f"member_{name}", TensorProto.DOUBLE, [None, 2 * len(cost)]) for name in ("value", "cost") if members
    ]
    stored = {
        "slope": [[v / 40 for v in VALUE]], "gift": [[0.0, 0.0, 1.0]], "free": [[0.0] * len(cost)], "costs": [list(cost)],
        "none": [[0.0]],
    }  # fmt: skip
    nodes = [
        helper.make_node("LabelEncoder", ["city"], ["away"], domain="ai.onnx.ml", keys_strings=["north"], values_floats=[0.0],
                         default_float=1.0),
        helper.make_node("Cast", ["away"], ["away64"], to=TensorProto.DOUBLE),
        helper.make_node("Equal", ["age", "age"], ["known"]),  # NaN is not equal to itself
        helper.make_node("Where", ["known", "age", "none"], ["years"]),
        helper.make_node("MatMul", ["years", "slope"], ["by_age"]),
        helper.make_node("MatMul", ["away64", "gift"], ["by_city"]),
        helper.make_node("Add", ["by_age", "by_city"], ["value"]),
        helper.make_node("MatMul", ["years", "free"], ["zeros"]),
        helper.make_node("Add", ["zeros", "costs"], ["cost"]),
    ]  # fmt: skip
    if members:
        nodes += [
            helper.make_node("Concat", ["value", "zeros"], ["member_value"], axis=1),
            helper.make_node("Concat", ["cost", "cost"], ["member_cost"], axis=1),
        ]
    tensors = [
        helper.make_tensor(name, TensorProto.DOUBLE, np.shape(rows), np.ravel(rows)) for name, rows in stored.items()
    ]
    graph = helper.make_graph(nodes, "run", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    (folder / MODEL).write_bytes(model)
    kinds = {"age": "number", "city": "text", "since": "date", extra: "number"}
    about = {
        "format": 1, "package": "0.1.0", "model_sha256": hashlib.sha256(model).hexdigest(), "missing": "<missing>",
        "columns": [{"name": n, "input": n, "kind": kinds[n], "levels": ["north"] if n == "city" else [], "numbered": False}
                    for n in names],
        "treatments": list(treatments), "price": price, "units": {"money": "EUR"}, "members": list(members),
        "rows": {"age": [40.0, 20.0], "city": ["north", "south"], "since": [0.0, None], **({extra: [0.0, 0.0]} if extra else {})},
        "menu": {"value": [list(VALUE), [VALUE[0] / 2, VALUE[1] / 2, VALUE[2] / 2 + 1]], "cost": [list(cost)] * 2},
    }  # fmt: skip
    (folder / ABOUT).write_text(json.dumps(about | {"sha256": about_digest(about)}))
    return folder


class InLoop:
    """An ASGI application in the event loop of a thread: started, asked and stopped from other threads."""

    def __init__(self, app: App) -> None:
        self.app, self.loop = app, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://here"
        )

    def do(self, task: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(task, self.loop).result(30)

    def request(self, *args: Any, **more: Any) -> httpx.Response:
        return self.do(self._client.request(*args, **more))

    def __enter__(self) -> InLoop:
        self._thread.start()
        self.do(self._begin())
        return self

    async def _begin(self) -> None:
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._lifespan = asyncio.ensure_future(self.app({"type": "lifespan"}, self._events.get, self._told.put))
        await self._events.put({"type": "lifespan.startup"})
        got = await self._told.get()
        assert got["type"] == "lifespan.startup.complete", got

    async def _end(self) -> None:
        await self._events.put({"type": "lifespan.shutdown"})
        await self._lifespan

    def __exit__(self, *_: object) -> None:
        self.do(self._end())
        self.do(self._client.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Served:
    """A service, its client, and a key of each role."""

    def __init__(self, client: InLoop, app: App, keys: dict[str, str]) -> None:
        self.client, self.app, self.keys = client, app, keys

    def ask(self, method: str, path: str, role: str = "admin", **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.keys[role]}"} | more.pop("headers", {})
        return self.client.request(method, path, headers=headers, **more)

    def decide(self, unit: str, role: str = "decide", *, features: Any = None, **more: Any) -> Any:
        return self.ask("POST", "/v1/decisions", role, json={"unit": unit, "features": features or NORTH, **more})


@contextmanager
def service(place: Path, *, server: dict[str, Any] | None = None, **campaign: Any) -> Iterator[Served]:
    """The service of a campaign "spring" over a new run, in this process. Its price stays, however slow the machine is."""
    run = make_run(place / "run")
    store = (server or {}).get("store", f"sqlite:///{place}/ledger.db")
    keys = {}
    with Ledger.open(store) as ledger:
        for role in ROLES:
            keys[role] = create_key(ledger.engine, role)[1]
    terms = {"run": str(run), "budget": 1000.0, "until": "2100-01-01", "holdout": 0.0, "explore": 0.0} | campaign
    settings = load_settings(
        None, server={"store": store} | (server or {}), campaigns={"spring": terms}, environment={}
    )
    begin(settings)
    app = App(lambda: make_service(settings))
    with InLoop(app) as client:
        app.service.ledger.reprice = lambda holder, hold: {}
        yield Served(client, app, keys)
