"""What an ONNX file says of itself - inputs, outputs, files beside it - read without loading it.

The file is a protocol buffer: fields follow each other, each a key (number and wire type) and a value; a
message is a length and its fields. The few fields that matter here are read out of a memory map, tensors'
bytes are skipped. So a graph that nobody has run before is neither run nor given to a runtime, which folds
constants while it loads. Numbers of fields: onnx.proto3 of the ONNX project, stable since IR version 3.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import msgspec

from serinus.core.errors import InvalidInput

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 32
_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13
_KINDS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}


class Value(msgspec.Struct, frozen=True):
    """An input or output of the graph."""

    name: str
    kind: str
    """Element type, such as `uint8`."""
    shape: tuple[int | str, ...]
    """A number where the size is fixed, else its name (or `?`)."""

    def __str__(self) -> str:
        return f"{self.name!r} {self.kind} [{', '.join(map(str, self.shape))}]"


class Graph(msgspec.Struct, frozen=True):
    """The outside of a graph."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    external: tuple[str, ...]
    """Files beside it that hold weights, as it names them, sorted."""


class _Fields:
    """The fields between two places of the file: (number, start, end) for bytes, (number, value, -1) else."""

    def __init__(self, data: mmap.mmap, start: int, end: int) -> None:
        self.data, self.start, self.end = data, start, end

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        at = self.start
        while at < self.end:
            key, at = self._varint(at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = self._varint(at)
                yield number, value, -1
            elif wire == _BYTES:
                size, at = self._varint(at)
                if at + size > self.end:
                    raise _Broken
                yield number, at, at + size
                at += size
            elif wire in (_FIXED32, _FIXED64):
                at += 4 if wire == _FIXED32 else 8
            else:
                raise _Broken

    def _varint(self, at: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= self.end:
                raise _Broken
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise _Broken

    def inside(self, *numbers: int) -> "Iterator[_Fields]":
        """The messages in the fields with these numbers."""
        for number, start, end in self:
            if number in numbers and end >= 0:
                yield _Fields(self.data, start, end)

    def text(self, wanted: int) -> str:
        """The last text in field `wanted`; empty when there is none."""
        found = ""
        for number, start, end in self:
            if number == wanted and end >= 0:
                found = self.data[start:end].decode()
        return found

    def number(self, wanted: int) -> int | None:
        """The last number in field `wanted`."""
        found = None
        for number, value, end in self:
            if number == wanted and end < 0:
                found = value
        return found


class _Broken(Exception):
    """These bytes are no such message."""


def read_graph(path: Path) -> Graph:
    """Raises InvalidInput when the file is no ONNX model."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graphs = list(_Fields(data, 0, len(data)).inside(_MODEL_GRAPH))
            if len(graphs) != 1:
                raise _Broken
            return _outside(graphs[0])
    except (_Broken, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput(
            f"{path.name} is no ONNX model.", remedy="Was it downloaded whole? Export it again."
        ) from error


def _outside(graph: _Fields) -> Graph:
    inputs, outputs, constants, external = [], [], set(), set(_external(graph, 0))
    for number, start, end in graph:
        inner = _Fields(graph.data, start, end)
        if number == _INPUT:
            inputs.append(_value(inner))
        elif number == _OUTPUT:
            outputs.append(_value(inner))
        elif number == _INITIALIZER:
            constants.add(inner.text(_TENSOR_NAME))
    asked = tuple(value for value in inputs if value.name not in constants)
    return Graph(asked, tuple(outputs), tuple(sorted(external)))


def _value(info: _Fields) -> Value:
    """ValueInfoProto: name 1, type 2 > tensor 1 > element 1, shape 2 > dimensions 1 > size 1 or name 2."""
    kind, shape = "no tensor", []
    for kinds in info.inside(2):
        for tensor in kinds.inside(1):
            code = tensor.number(1)
            kind = _KINDS.get(code or 0, f"type {code}")
            for shapes in tensor.inside(2):
                for dimension in shapes.inside(1):
                    size = dimension.number(1)
                    shape.append(size if size is not None else dimension.text(2) or "?")
    return Value(info.text(1), kind, tuple(shape))


def _external(graph: _Fields, depth: int) -> Iterator[str]:
    """Where tensors of the graph, and of the graphs in its nodes, say that their bytes are."""
    if depth > _DEEPEST:
        raise _Broken
    for tensor in graph.inside(_INITIALIZER):
        yield from _locations(tensor)
    for node in graph.inside(_NODE):
        for attribute in node.inside(_NODE_ATTRIBUTE):
            for tensor in attribute.inside(_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                yield from _locations(tensor)
            for inner in attribute.inside(_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                yield from _external(inner, depth + 1)


def _locations(tensor: _Fields) -> Iterator[str]:
    for entry in tensor.inside(_TENSOR_EXTERNAL):
        if entry.text(1) == "location":
            yield entry.text(2)
