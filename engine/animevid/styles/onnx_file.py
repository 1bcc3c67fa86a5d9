"""Reads a serialized ONNX model's metadata and graph without onnx, protobuf or a runtime.

Only the fields that the engine needs are decoded; weights are skipped, never copied. So the card of a style is read in
microseconds and a list of styles needs no runtime at all. Field numbers: ``onnx.proto3`` of ONNX (IR version 3 to 13);
wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from animevid.errors import StyleError

#: The maximum size of a style.
MAX_BYTES = 1 << 30
#: ``TensorProto.DataType.FLOAT``.
FLOAT32 = 1
_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL

#: A named axis (``"N"``) or an unnamed free one (``None``), or its size.
Dimension = int | str | None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph's input or output. ``shape`` is ``None`` if the rank is unknown."""

    name: str
    element_type: int
    shape: tuple[Dimension, ...] | None


@dataclass(frozen=True, slots=True)
class Node:
    """One operator call, by the names of its tensors."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """``inputs`` are those that a caller must pass; weights listed as inputs (IR version 3) are left out.

    ``weights`` maps an initializer's name to its shape.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: tuple[Node, ...]
    weights: dict[str, tuple[int, ...]]
    has_external_weights: bool


#: The maximum number of top-level fields: a model has one graph, a few operator sets and metadata.
_MAX_FIELDS = 100_000

#: The entry "location" of a tensor's external data, wherever the tensor is (attributes and subgraphs too), even with a
#: non-minimal varint length. A tensor or tag of that very name is refused as well.
_LOCATION = re.compile(rb"\x0a(?:\x08|\x88\x80*\x00)location")


def has_external_data(model: bytes) -> bool:
    """Whether any tensor in ``model`` has its values in another file (or at a memory address)."""
    return _LOCATION.search(model) is not None


#: The operators that repeat a part of the graph, as a node's ``op_type`` (field 4), in subgraphs and functions too.
_LOOP = re.compile(rb"\x22(?:\x04|\x84\x80*\x00)(?:Loop|Scan)")


def may_loop(model: bytes) -> bool:
    """Whether ``model`` may run for ever because it has a loop operator."""
    return _LOOP.search(model) is not None


def read_metadata(model: bytes) -> dict[str, str]:
    """The model's ``metadata_props``.

    Raises:
        StyleError: not an ONNX model, or cut short.
    """
    entries: dict[str, str] = {}
    has_graph = False
    try:
        for count, (number, value) in enumerate(_fields(memoryview(model))):
            if count > _MAX_FIELDS:
                raise ValueError(f"more than {_MAX_FIELDS} fields")
            if number == 7:
                has_graph = True
            elif number == 14:
                entry = dict(_fields(_message(value)))
                entries[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
    except (ValueError, UnicodeDecodeError) as error:
        raise _not_onnx(error) from error
    if not has_graph:
        raise _not_onnx(ValueError("no graph"))
    return entries


def read_graph(model: bytes) -> Graph:
    """The model's inputs, outputs, operators and the shapes of its weights.

    Raises:
        StyleError: not an ONNX model, or cut short.
    """
    try:
        graphs = [_message(value) for number, value in _fields(memoryview(model)) if number == 7]
        if not graphs:
            raise ValueError("no graph")
        return _graph(graphs[-1])
    except (ValueError, UnicodeDecodeError) as error:
        raise _not_onnx(error) from error


def _not_onnx(error: Exception) -> StyleError:
    return StyleError(f"the file is not a whole ONNX model ({error}); give a style exported as .onnx")


def _graph(message: memoryview) -> Graph:
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    nodes: list[Node] = []
    weights: dict[str, tuple[int, ...]] = {}
    external = False
    for number, value in _fields(message):
        if number == 1:
            nodes.append(_node(_message(value)))
        elif number == 5:
            name, shape, is_external = _initializer(_message(value))
            weights[name] = shape
            external |= is_external
        elif number == 11:
            inputs.append(_tensor_info(_message(value)))
        elif number == 12:
            outputs.append(_tensor_info(_message(value)))
    asked = tuple(item for item in inputs if item.name not in weights)
    return Graph(asked, tuple(outputs), tuple(nodes), weights, external)


def _node(message: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op_type = ""
    for number, value in _fields(message):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 4:
            op_type = _text(value)
    return Node(op_type, tuple(inputs), tuple(outputs))


def _initializer(message: memoryview) -> tuple[str, tuple[int, ...], bool]:
    name = ""
    shape: list[int] = []
    external = False
    for number, value in _fields(message):
        if number == 1:  # repeated int64, packed or one by one
            if isinstance(value, int):
                shape.append(value)
            else:
                position = 0
                while position < len(value):
                    size, position = _varint(value, position)
                    shape.append(size)
        elif number == 8:
            name = _text(value)
        elif number == 14:
            external = value == _EXTERNAL
    return name, tuple(shape), external


def _tensor_info(message: memoryview) -> TensorInfo:
    name = ""
    element_type = 0
    shape: tuple[Dimension, ...] | None = None
    for number, value in _fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, tensor_type in _fields(_message(value)):
                if kind != 1:  # a sequence, map or optional
                    continue
                for part, content in _fields(_message(tensor_type)):
                    if part == 1 and isinstance(content, int):
                        element_type = content
                    elif part == 2:
                        axes = [_message(axis) for key, axis in _fields(_message(content)) if key == 1]
                        shape = tuple(_dimension(axis) for axis in axes)
    return TensorInfo(name, element_type, shape)


def _dimension(message: memoryview) -> Dimension:
    for number, value in _fields(message):
        if number == 1 and isinstance(value, int):
            # Some exporters write -1 (as a 64-bit varint) or 0 for a free axis.
            return value if 0 < value < 1 << 31 else None
        if number == 2:
            return _text(value) or None
    return None


def _message(value: int | memoryview | bytes) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return memoryview(value)


def _text(value: int | memoryview | bytes) -> str:
    return bytes(_message(value)).decode("utf-8")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    return ((number, value) for number, value, _ in spans(message))


def spans(message: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """Number, value and own bytes (tag and all) of each field of a protobuf message.

    Raises:
        ValueError: the message is damaged or truncated.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == 0:
            value, position = _varint(message, position)
            yield number, value, message[start:position]
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if length > len(message) - position:
            raise ValueError("it ends too early")
        end = position + length
        yield number, message[position:end], message[start:end]
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends too early")
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("a number of more than ten bytes")
