"""`Graph`: the nodes and tensors of an ONNX model, added one operation at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from largesse._extras import needed_for
from largesse.errors import StoreError

__all__ = ["ENCODED", "FEATURES", "IR", "OPSET", "TREES", "Graph", "Port"]

OPSET, TREES, IR = 18, 3, 9  # old versions, which many releases of the runtime support
FEATURES = "features"
"""Name of the encoded features, (N, d), float32."""
ENCODED = "encode/"
"""What the names of nodes that lead to `FEATURES` begin with."""
_MODEL = "model/"
_SHARED = 10  # attributes with more entries are those of trees: such a node is never looked for among earlier ones


class Port(NamedTuple):
    """An input or an output.

    Attributes:
        name: Its name.
        kind: ``"FLOAT"``, ``"DOUBLE"``, ``"INT64"`` or ``"STRING"``.
        shape: Its shape; None for the number of units.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]


class Graph:
    """Nodes and tensors of a model.

    Calling it adds a node and returns the name of its output. Inputs are names of earlier outputs, or arrays, which become stored
    tensors. The same operation on the same inputs is computed once, so that models can share what they have in common.

    Raises:
        MissingDependency: The extra `serve` is not installed.
    """

    def __init__(self) -> None:
        with needed_for("The ONNX form of a policy"):
            import onnx
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._tensors: dict[tuple[Any, ...], Any] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self.prefix = _MODEL
        self.member: int | None = None
        """Which member of an ensemble stands for it; None: all."""
        self.responses: dict[tuple[int, str], Any] = {}
        """What members of ensembles respond: trees are in the graph once."""

    def __call__(self, operation: str, *inputs: str | NDArray[Any] | np.generic, **attributes: Any) -> str:
        """Adds a node of the standard operators and returns the name of its output."""
        return self._add("", operation, inputs, attributes)

    def ml(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of the operators for classical models (trees, tables of labels)."""
        return self._add("ai.onnx.ml", operation, inputs, attributes)

    def encoded(self, name: str) -> str:
        """Ends the encoder: gives its result the name `FEATURES`, and returns this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [name], [FEATURES]))
        self.prefix = _MODEL
        return FEATURES

    def named(self, name: str, output: str) -> None:
        """Gives a result the name of an output of the model."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [name], [output]))

    def double(self, name: str) -> str:
        """Returns a tensor in double precision."""
        return self("Cast", name, to=self._onnx.TensorProto.DOUBLE)

    def single(self, name: str) -> str:
        """Returns a tensor in single precision."""
        return self("Cast", name, to=self._onnx.TensorProto.FLOAT)

    def columns(self, name: str, columns: Sequence[int] | NDArray[Any]) -> str:
        """Returns some columns of a table, (N, k)."""
        return self("Gather", name, np.asarray(columns, np.int64), axis=1)

    def beside(self, *tables: str) -> str:
        """Returns tables side by side."""
        return tables[0] if len(tables) == 1 else self("Concat", *tables, axis=1)

    def _add(self, domain: str, operation: str, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str:
        names = [one if isinstance(one, str) else self._tensor(np.asarray(one)) for one in inputs]
        small = all(np.size(one) <= _SHARED for one in attributes.values())
        key = (operation, *names, repr(sorted(attributes.items()))) if small else (len(self._nodes),)
        if key not in self._known:
            output = f"{self.prefix}{len(self._nodes)}"
            self._nodes.append(self._onnx.helper.make_node(operation, names, [output], domain=domain, **attributes))
            self._known[key] = output
        return self._known[key]

    def _tensor(self, array: NDArray[Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._tensors:
            name = f"stored/{len(self._tensors)}"
            # Not `ascontiguousarray`, which would give a number an axis.
            self._tensors[key] = self._onnx.numpy_helper.from_array(np.array(array, order="C"), name)
        return str(self._tensors[key].name)

    def model(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> bytes:
        """Returns the model as a file's content.

        Args:
            inputs: Its inputs.
            outputs: Its outputs, names given by `named`.

        Raises:
            StoreError: The checks of the package `onnx` refuse it.
        """
        make, kinds = self._onnx.helper, self._onnx.TensorProto
        ports = [
            [make.make_tensor_value_info(p.name, getattr(kinds, p.kind), p.shape) for p in side]
            for side in (inputs, outputs)
        ]
        graph = make.make_graph(self._nodes, "policy", *ports, list(self._tensors.values()))
        sets = [make.make_opsetid("", OPSET), make.make_opsetid("ai.onnx.ml", TREES)]
        model = make.make_model(graph, producer_name="largesse", opset_imports=sets, ir_version=IR)
        try:
            self._onnx.checker.check_model(model)
        except self._onnx.checker.ValidationError as error:
            raise StoreError(f"model: its ONNX form is not valid ({error}). Please report it.") from error
        return bytes(model.SerializeToString(deterministic=True))
