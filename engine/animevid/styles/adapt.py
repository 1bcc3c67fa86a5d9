"""Adapts third-party styles to the form that every backend expects: float32, output as large as input, one file.

It edits the model's bytes, not its arithmetic: a Cast before and after a network of float16 or uint8, an average over
k x k pixels after one that enlarges k times, and weights from an external file moved into the model. It does not need
the ``onnx`` package. Field numbers are those of ``onnx.proto3``.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from animevid.errors import StyleError
from animevid.styles.onnx_file import FLOAT32, Dimension, TensorInfo, has_external_data, spans

UINT8 = 2
FLOAT16 = 10
#: Element types (``TensorProto.DataType``) of image tensors that are cast to float32.
CAST_TYPES = {UINT8: "uint8", FLOAT16: "float16"}
_MAX_FILE_BYTES = (1 << 31) - 1  # protobuf's own limit
_PREFIX = "animevid."
_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # of GraphProto
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14  # of TensorProto


def cast_to_float32(model: bytes, given: TensorInfo, got: TensorInfo) -> bytes:
    """``model`` with a float32 input and output instead of ``given`` and ``got``, with added casts.

    Values for uint8 are rounded and clamped to 0..255 first.
    """
    into: list[bytes] = []
    constants: list[bytes] = []
    first, last = given, got
    if given.element_type != FLOAT32:
        first = TensorInfo(f"{_PREFIX}input", FLOAT32, given.shape)
        name = first.name
        if given.element_type == UINT8:
            for op, value in (("Add", 0.5), ("Max", 0.0), ("Min", 255.0)):
                constant = f"{_PREFIX}{op}"
                constants.append(_scalar(constant, value))
                into.append(_node(op, (name, constant), f"{constant}.output"))
                name = f"{constant}.output"
        into.append(_node("Cast", (name,), given.name, _whole("to", given.element_type)))
    out: list[bytes] = []
    if got.element_type != FLOAT32:
        last = TensorInfo(f"{_PREFIX}output", FLOAT32, got.shape)
        out.append(_node("Cast", (got.name,), last.name, _whole("to", FLOAT32)))
    return _rewired(model, first=first, last=last, before=into, after=out, constants=constants)


def shrink_output(model: bytes, given: TensorInfo, got: TensorInfo, factor: int, *, is_nhwc: bool) -> bytes:
    """``model`` with its output's sides ``factor`` times smaller: each pixel the mean of ``factor`` x ``factor``."""
    last = TensorInfo(f"{_PREFIX}shrunk", FLOAT32, given.shape)
    pool = [_wholes("kernel_shape", (factor, factor)), _wholes("strides", (factor, factor))]
    if not is_nhwc:
        after = [_node("AveragePool", (got.name,), last.name, *pool)]
    else:
        first, second = f"{_PREFIX}planes", f"{_PREFIX}pooled"
        after = [
            _node("Transpose", (got.name,), first, _wholes("perm", (0, 3, 1, 2))),
            _node("AveragePool", (first,), second, *pool),
            _node("Transpose", (second,), last.name, _wholes("perm", (0, 2, 3, 1))),
        ]
    return _rewired(model, first=given, last=last, before=(), after=after, constants=())


def with_weights_inside(model: bytes, path: Path, *, is_own: bool) -> bytes:
    """``model``, read from ``path``, with the weights of external files moved into it.

    An external file must be a regular file of the same owner in the same folder, not a link. So the user's own style
    may have two files, as some exporters write it, while a style from elsewhere (``is_own`` false) may read none.

    Raises:
        StyleError: values are in a file that may not be read, or outside the named file.
    """
    if not is_own:
        raise _second_file(path)
    try:
        parts = []
        for number, value, raw in spans(memoryview(model)):
            parts.append(_message(_GRAPH, _graph_inside(_bytes(value), path)) if number == _GRAPH else raw)
    except ValueError as error:
        raise StyleError(f"the file is not a whole ONNX model ({error}); give a style exported as .onnx") from error
    whole = b"".join(parts)
    if has_external_data(whole):
        raise _second_file(path)
    return whole


def _second_file(path: Path) -> StyleError:
    return StyleError(
        f"{str(path)!r} keeps values in a second file, which a style may not read; save it as one file: "
        "onnx.save(onnx.load(path), new_path)"
    )


def _graph_inside(graph: memoryview, path: Path) -> bytes:
    parts: list[bytes | memoryview] = []
    for number, value, raw in spans(graph):
        if number == _INITIALIZER and any(n == _EXTERNAL_DATA for n, *_ in spans(_bytes(value))):
            parts.append(_message(_INITIALIZER, _tensor_inside(_bytes(value), path)))
        else:
            parts.append(raw)
    return b"".join(parts)


def _tensor_inside(tensor: memoryview, path: Path) -> bytes:
    entries: dict[str, str] = {}
    kept: list[bytes | memoryview] = []
    for number, value, raw in spans(tensor):
        if number == _EXTERNAL_DATA:
            pair = {n: bytes(_bytes(v)).decode() for n, v, _ in spans(_bytes(value))}
            entries[pair.get(1, "")] = pair.get(2, "")
        elif number != _DATA_LOCATION:
            kept.append(raw)
    data = _read_beside(path, entries.get("location", ""), entries.get("offset", "0"), entries.get("length", ""))
    return b"".join((*kept, _message(_RAW_DATA, data)))


def _read_beside(path: Path, name: str, offset: str, length: str) -> bytes:
    numbers = all(text.isascii() and text.isdigit() for text in (offset, length) if text)
    if not name or name in (".", "..") or any(sign in name for sign in "/\\:\0") or not numbers or not length:
        raise _second_file(path)
    start, count = int(offset or 0), int(length)
    try:
        handle = os.open(path.parent / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(file.fileno())
            own = facts.st_uid == path.stat().st_uid
            if not stat.S_ISREG(facts.st_mode) or not own or start + count > min(facts.st_size, _MAX_FILE_BYTES):
                raise _second_file(path)
            file.seek(start)
            return file.read(count)
    except OSError as error:
        raise StyleError(
            f"{str(path)!r} keeps values in a second file, {name!r} beside it, which cannot be read "
            f"({error.strerror}); put both files into one folder"
        ) from error


def _rewired(
    model: bytes,
    *,
    first: TensorInfo,
    last: TensorInfo,
    before: Iterable[bytes],
    after: Iterable[bytes],
    constants: Iterable[bytes],
) -> bytes:
    """``model`` with the new input ``first`` and output ``last``, and operators ``before`` and ``after`` its own."""
    parts: list[bytes | memoryview] = []
    for number, value, raw in spans(memoryview(model)):
        if number != _GRAPH:
            parts.append(raw)
            continue
        graph: list[bytes | memoryview] = [_message(_NODE, node) for node in before]
        weights = {_name_of(_bytes(v)) for n, v, _ in spans(_bytes(value)) if n == _INITIALIZER}
        for n, v, own in spans(_bytes(value)):
            is_end = n == _OUTPUT or (n == _INPUT and _name_of(_bytes(v), field=1) not in weights)
            if not is_end:
                graph.append(own)
        graph += [_message(_NODE, node) for node in after]
        graph += [_message(_INITIALIZER, constant) for constant in constants]
        graph += [_message(_INPUT, _value_info(first)), _message(_OUTPUT, _value_info(last))]
        parts.append(_message(_GRAPH, b"".join(graph)))
    return b"".join(parts)


def _name_of(message: memoryview, *, field: int = 8) -> bytes:
    return next((bytes(_bytes(value)) for number, value, _ in spans(message) if number == field), b"")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


# --- writing protobuf -----------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def _message(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _node(op: str, inputs: Iterable[str], output: str, *attributes: bytes) -> bytes:
    names = b"".join(_text(1, name) for name in inputs)
    return names + _text(2, output) + _text(4, op) + b"".join(_message(5, attribute) for attribute in attributes)


def _whole(name: str, value: int) -> bytes:
    return _text(1, name) + _integer(3, value) + _integer(20, 2)  # AttributeProto.INT


def _wholes(name: str, values: Iterable[int]) -> bytes:
    return _text(1, name) + b"".join(_integer(8, value) for value in values) + _integer(20, 7)  # AttributeProto.INTS


def _scalar(name: str, value: float) -> bytes:
    return _integer(2, FLOAT32) + _text(8, name) + _message(_RAW_DATA, struct.pack("<f", value))


def _value_info(tensor: TensorInfo) -> bytes:
    body = _integer(1, tensor.element_type)
    if tensor.shape is not None:
        body += _message(2, b"".join(_message(1, _dimension(size)) for size in tensor.shape))
    return _text(1, tensor.name) + _message(2, _message(1, body))


def _dimension(size: Dimension) -> bytes:
    if isinstance(size, int):
        return _integer(1, size)
    return b"" if size is None else _text(2, size)
