"""An ONNX graph looked at from the side of its values: who makes one, who reads it, what lies above and below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

__all__ = ["LAYERS", "MEMORY", "SELECTORS", "GraphIndex", "attribute_of", "kind_name"]

# What picks a place by the size of its values: a small error there is another neighbour, not a small difference.
SELECTORS = {"ArgMax", "ArgMin", "TopK"}
LAYERS = {"Conv", "ConvTranspose", "Gemm"}
# Name of the constants of RecurrenceMemory.
MEMORY = "memory."
_CONSTANT_OPS = {"QuantizeLinear", "DequantizeLinear", "Transpose", "Cast", "Identity", "Reshape"}


@dataclass(frozen=True)
class GraphIndex:
    """The top level of a graph, indexed once.

    Attributes:
        model: the graph.
        maker: name of a value -> the node that makes it.
        readers: name of a value -> the nodes that read it.
        constants: name -> tensor, of initialisers and Constant nodes.
        kinds: name of a value -> its element type (`TensorProto.FLOAT` …), where it is known.
        shapes: name of a computed value -> its shape, where it is known; 0 for what is not fixed.
    """

    model: onnx.ModelProto
    maker: dict[str, NodeProto]
    readers: dict[str, list[NodeProto]]
    constants: dict[str, TensorProto]
    kinds: dict[str, int]
    shapes: dict[str, list[int]]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> GraphIndex:
        """Index `model`. Raises onnx.shape_inference.InferenceError or ValueError where its types contradict."""
        graph = model.graph
        maker = {name: node for node in graph.node for name in node.output if name}
        readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in set(node.input) - {""}:
                readers.setdefault(name, []).append(node)
        constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            value = attribute_of(node, "value")
            if node.op_type == "Constant" and isinstance(value, TensorProto):
                constants[node.output[0]] = value
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        kinds |= {name: tensor.data_type for name, tensor in constants.items()}
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        return cls(model, maker, readers, constants, kinds, shapes)

    def array(self, name: str) -> npt.NDArray[np.generic] | None:
        """The constant of this name, or None where it is computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def readers_of(self, node: NodeProto) -> Iterator[NodeProto]:
        for name in node.output:
            yield from self.readers.get(name, ())

    def makers_of(self, node: NodeProto) -> Iterator[NodeProto]:
        for name in node.input:
            if name in self.maker:
                yield self.maker[name]

    def above(self, nodes: Iterable[NodeProto]) -> set[str]:
        """First outputs of these nodes and of all whose results they use."""
        return self._closure(nodes, self.makers_of)

    def below(self, nodes: Iterable[NodeProto]) -> set[str]:
        """First outputs of these nodes and of all that use their results."""
        return self._closure(nodes, self.readers_of)

    def _closure(self, nodes, step) -> set[str]:  # type: ignore[no-untyped-def]
        seen: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node.output[0] not in seen:
                seen.add(node.output[0])
                waiting.extend(step(node))
        return seen

    def selection(self) -> set[str]:
        """First outputs of the nodes that choose, among the bank's entries, a frame's neighbours, and of all above."""
        return self.above(node for node in self.model.graph.node if node.op_type in SELECTORS)

    def tail(self) -> set[str]:
        """First outputs of the scoring tail: the nodes that no layer with weights of the autoencoder lies below of."""
        layers = [node for node in self.model.graph.node if node.op_type in LAYERS or self._is_linear(node)]
        return {node.output[0] for node in self.model.graph.node} - self.above(layers)

    def _is_linear(self, node: NodeProto) -> bool:
        if node.op_type != "MatMul":
            return False
        weights = [name for name in map(self.constant_behind, node.input) if name is not None]
        return any(not name.startswith(MEMORY) for name in weights)

    def constant_behind(self, name: str) -> str | None:
        """The constant that `name` is made of by nothing but quantising, turning and reshaping; None where computed."""
        while name not in self.constants:
            node = self.maker.get(name)
            if node is None or node.op_type not in _CONSTANT_OPS:
                return None
            name = node.input[0]
        return name


def attribute_of(node: NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute, or `default`."""
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def kind_name(elem_type: int) -> str:
    """Of an element type, in ONNX's words: "uint8"."""
    return str(TensorProto.DataType.Name(elem_type)).lower()
