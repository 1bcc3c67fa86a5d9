"""Makes an INT8 variant of a trained style by static quantization on real photos, if its output stays close enough.

Activations are unsigned 8 bit, one scale a tensor, from the range seen on calibration photos; weights signed, one
scale an output channel (Nagel et al. 2021, "A White Paper on Neural Network Quantization", sections 2.2 and 3.1). On a
CPU with AVX2 and no VNNI two neighbouring products are added in 16 bits, which 8-bit weights can saturate; the frame
would depend on the machine. So each channel's scale is chosen such that no two neighbours of one sign overflow.
Limiting all weights to 7 bits also works, but gives 0.94 codes for ``cel`` instead of 0.69.

The last convolutions, and everything after them, stay in float32: a network that ends in ``input + change`` keeps that
sum, and the input in it, exact, so a smooth gradient in the source stays smooth.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from animevid.backends import open_backend
from animevid.errors import StyleError, TrainingError
from animevid.options import RuntimeOptions
from animevid.pixels import pack_yuv420, planes_to_tensor, rgb_to_planes
from animevid.styles.card import Layout, StyleCard, read_card, write_card

from animevid_trainer.files import write_file
from animevid_trainer.int8_graph import arrange_for_cpu

_LOG = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]

#: A network is calibrated and compared at the pixels that it runs at, or near these.
_DEFAULT_NET_PIXELS = 640 * 360
#: Of two weights: 255 * 127 is below 2 ** 15, with room for the rounding of both.
_MAX_SUM = 127
_QUANTIZED_OPS = ["Conv", "ConvTranspose", "Relu", "Clip", "LeakyRelu", "Add", "Resize", "DepthToSpace", "Concat"]


@dataclass(frozen=True, slots=True)
class Distance:
    """Absolute difference of two styles' outputs, in 8-bit codes of their output range, over all ``images``.

    ``high`` is what the ``share`` of all values stays below.
    """

    mean: float
    high: float
    largest: float
    images: int
    share: float = 0.999

    def __str__(self) -> str:
        return (
            f"mean {self.mean:.2f}, {self.share:.1%} below {self.high:.1f}, largest {self.largest:.1f} codes of 255 "
            f"over {self.images} images"
        )


#: Invisible at viewing distance: one code on average, eight codes in a thousandth of the values.
BOUND = Distance(mean=1.0, high=8.0, largest=float("inf"), images=1)


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """The file written, its card, and its distance from the source."""

    path: Path
    bytes_written: int
    card: StyleCard
    distance: Distance


def quantize_style(model: bytes, photos: Sequence[Image], *, keep_float: Sequence[str] = ()) -> bytes:
    """``model`` with INT8 weights and activations, and a card that says so.

    Args:
        model (bytes): a serialized ONNX style with a float32 card.
        photos (Sequence[Image]): uint8 RGB ``(H, W, 3)``, some dozens of what the style will see.
        keep_float (Sequence[str]): prefixes of weight names; convolutions with such weights stay in float32, as the
            last ones always do. Default: none.

    The calibrated range is not clipped: cutting the outermost 0.01 % (``CalibrationMethod.Percentile``) hardly changed
    the mean difference (0.39 codes against 0.40 on ``nano``) and doubled the largest one.

    Raises:
        TrainingError: no photos, no card, a card that is not float32, or a graph that cannot be quantized.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    card = _float_card(model)
    tensors = network_inputs(photos, card)
    with tempfile.TemporaryDirectory() as scratch, _quiet_quantizer():
        source, prepared, result = (str(Path(scratch, f"{name}.onnx")) for name in ("source", "prepared", "result"))
        Path(source).write_bytes(model)
        try:
            # Symbolic shape inference needs sympy; convolutional networks do not need it.
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            graph = onnx.load(prepared)
            for index, node in enumerate(graph.graph.node):  # nodes are excluded by name, so each needs one
                node.name = node.name or f"node_{index}"
            onnx.save(graph, prepared)
            quantize_static(
                prepared,
                result,
                _Reader(tensors, _input_name(model)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED_OPS,
                nodes_to_exclude=_last_convolutions(graph) + _named_convolutions(graph, keep_float),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=not _is_plain(graph),
                calibrate_method=CalibrationMethod.MinMax,
            )
        except Exception as error:  # the quantizer raises whatever it meets
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise TrainingError(f"the style {card.name!r} cannot be quantized ({reason})") from error
        proto = onnx.load(result)
        if _is_plain(graph):
            _fit_weights(proto, graph)
        _keep_input_float(proto)
        _correct_biases(proto, graph, tensors)
        arrange_for_cpu(proto)
    return write_card(proto.SerializeToString(), replace(card, precision="int8"))


def measure_distance(model: bytes, other: bytes, photos: Sequence[Image]) -> Distance:
    """Run both (each with its card) on ``photos`` with ONNX Runtime and compare every value.

    Raises:
        TrainingError: no photos, or a model without a card.
    """
    card, other_card = read_card(model), read_card(other)
    if card is None or other_card is None:
        raise TrainingError("a style without a card cannot be compared; export it with one")
    code = 255.0 / abs(card.output_range[1] - card.output_range[0])
    parts = []
    with (
        open_backend(model, card, RuntimeOptions(backend="onnxruntime", device="cpu")) as first,
        open_backend(other, other_card, RuntimeOptions(backend="onnxruntime", device="cpu")) as second,
    ):
        for tensor in network_inputs(photos, card):
            difference = np.abs(first.run(tensor) - second.run(tensor)) * code
            # A NaN on either side must not pass as "no difference".
            parts.append(np.where(np.isnan(difference), np.float32(np.inf), difference).ravel())
    values = np.concatenate(parts)
    share = BOUND.share
    return Distance(
        float(values.mean()), float(np.quantile(values, share)), float(values.max()), images=len(photos), share=share
    )


def quantize_file(
    source: Path | str,
    target: Path | str | None = None,
    *,
    photos: Sequence[Image],
    held_out: Sequence[Image],
    bound: Distance | None = None,
    keep_float: Sequence[str] = (),
) -> QuantizeReport:
    """Quantize the style ``source`` on ``photos``, compare both on ``held_out`` photos, and write the result if the
    difference is within ``bound`` (default: :data:`BOUND`). ``keep_float``: see :func:`quantize_style`.

    ``target`` defaults to ``NAME-int8.onnx`` beside ``source``, where the registry finds it as that style's INT8 file.
    The file is written atomically.

    Raises:
        StyleError: ``source`` cannot be read.
        TrainingError: it cannot be quantized, or the result is farther from it than ``bound``.
        OutputError: ``target`` cannot be written.
    """
    source = Path(source)
    target = Path(target) if target is not None else source.with_name(f"{source.stem}-int8.onnx")
    try:
        model = source.read_bytes()
    except OSError as error:
        raise StyleError(f"{str(source)!r} cannot be read ({error.strerror})") from error
    quantized = quantize_style(model, photos, keep_float=keep_float)
    distance = measure_distance(model, quantized, held_out)
    bound = bound or BOUND
    if not (distance.mean <= bound.mean and distance.high <= bound.high and distance.largest <= bound.largest):
        raise TrainingError(
            f"{target.name} is too far from {source.name}: {distance}; allowed are mean {bound.mean:g} and "
            f"{bound.share:.1%} below {bound.high:g}; nothing was written; give more photos of what it will see"
        )
    write_file(target, quantized)
    _LOG.info("%s: %d bytes of %d, %s", target, len(quantized), len(model), distance)
    card = read_card(quantized)
    assert card is not None  # it was just written
    return QuantizeReport(target, len(quantized), card, distance)


def network_inputs(photos: Sequence[Image], card: StyleCard) -> list[npt.NDArray[np.float32]]:
    """Each photo as a batch of one in the card's layout, at the style's network size.

    Raises:
        TrainingError: no photos, or one that is not uint8 RGB ``(H, W, 3)``.
    """
    if not photos:
        raise TrainingError("quantizing needs real photos; give some dozens")
    inputs = []
    for photo in photos:
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise TrainingError(f"{photo.dtype} of shape {photo.shape}: photos are uint8 RGB (H, W, 3)")
        height, width = card.fixed_size_px or _net_size(photo.shape[0], photo.shape[1], card)
        planes = rgb_to_planes(np.ascontiguousarray(photo))
        if card.layout is Layout.PACKED_YUV420:
            tensor = pack_yuv420(planes, size=(height, width), multiple=max(card.size_multiple, 4))
        else:
            tensor = planes_to_tensor(
                planes,
                layout=card.layout.value,
                order=card.colour_order.value,
                value_range=card.input_range,
                size=(height, width),
                multiple=card.size_multiple,
            )
        inputs.append(tensor[np.newaxis])
    return inputs


def _net_size(height: int, width: int, card: StyleCard) -> tuple[int, int]:
    scale = min(1.0, ((card.net_pixels or _DEFAULT_NET_PIXELS) / (height * width)) ** 0.5)
    multiple = card.size_multiple
    return max(1, round(height * scale / multiple)) * multiple, max(1, round(width * scale / multiple)) * multiple


def _float_card(model: bytes) -> StyleCard:
    card = read_card(model)
    if card is None:
        raise TrainingError("a style without a card cannot be quantized; export it with one")
    if card.precision != "fp32":
        raise TrainingError(f"style {card.name!r} is {card.precision}: only fp32 styles are quantized")
    return card


def _input_name(model: bytes) -> str:
    return str(onnx.load_from_string(model).graph.input[0].name)


#: The input's name -> a batch.
Feed = dict[str, npt.NDArray[np.float32]]


class _Reader:
    """ONNX Runtime's ``CalibrationDataReader`` protocol: one feed a call, then ``None``."""

    def __init__(self, tensors: Sequence[npt.NDArray[np.float32]], name: str) -> None:
        self._feeds: Iterator[Feed] = iter([{name: tensor} for tensor in tensors])

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> Feed:
        return next(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Called only with a calibration stride, which is not used."""


def _last_convolutions(proto: onnx.ModelProto) -> list[str]:
    """Names of the convolutions without another one downstream, and of all nodes downstream of them.

    They compute the pixels within a cell: rounding would shift each position by a different amount, the same in every
    cell, which shows as a grid in flat areas.
    """
    before_another: set[str] = set()  # tensors that a convolution reads, directly or later
    for node in reversed(proto.graph.node):
        if node.op_type.startswith("Conv") or any(name in before_another for name in node.output):
            before_another |= set(node.input)
    return _downstream(
        proto,
        starts=lambda node: node.op_type.startswith("Conv") and not before_another & set(node.output),
        follows=lambda node: True,
    )


def _named_convolutions(proto: onnx.ModelProto, beginnings: Sequence[str]) -> list[str]:
    """Names of the convolutions whose weights' names have such a prefix, and of the activations after them."""
    return _downstream(
        proto,
        starts=lambda node: node.op_type == "Conv" and node.input[1].startswith(tuple(beginnings)),
        follows=lambda node: node.op_type == "Relu",
    )


def _downstream(
    proto: onnx.ModelProto, *, starts: Callable[[onnx.NodeProto], bool], follows: Callable[[onnx.NodeProto], bool]
) -> list[str]:
    """Names of the nodes that ``starts`` selects, and of those downstream that ``follows`` selects, in order."""
    chosen: list[str] = []
    tensors: set[str] = set()
    for node in proto.graph.node:  # in topological order
        if starts(node) or (tensors & set(node.input) and follows(node)):
            chosen.append(node.name)
            tensors |= set(node.output)
    return chosen


def _is_plain(proto: onnx.ModelProto) -> bool:
    """Whether every weight belongs to a ``Conv``, whose first axis is the output channels."""
    return not any(node.op_type == "ConvTranspose" for node in proto.graph.node)


def _fit_weights(proto: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Requantize the weights of convolutions, in place, so that no sum of two products saturates 16 bits.

    Biases are requantized as well: ONNX Runtime runs a convolution in INT8 only if the scale of its bias is the
    product of the other two, and in float otherwise.
    """
    floats = {initializer.name: initializer for initializer in source.graph.initializer}
    tensors = {initializer.name: initializer for initializer in proto.graph.initializer}
    makers = {node.output[0]: node for node in proto.graph.node if node.op_type == "DequantizeLinear"}

    def put(name: str, value: npt.NDArray[np.generic]) -> None:
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(value, name))

    for node in proto.graph.node:
        if node.op_type != "Conv" or any(name not in makers for name in node.input):
            continue
        given, weights, *biases = (makers[name] for name in node.input)
        weight = np.asarray(onnx.numpy_helper.to_array(floats[weights.input[0].removesuffix("_quantized")]), np.float32)
        scale = np.maximum(largest_neighbours(weight) / _MAX_SUM, 1e-9).astype(np.float32)
        put(weights.input[0], np.round(weight / scale[:, None, None, None]).clip(-127, 127).astype(np.int8))
        put(weights.input[1], scale)
        for maker in biases:
            bias, old = (onnx.numpy_helper.to_array(tensors[name]) for name in maker.input[:2])
            new = scale * onnx.numpy_helper.to_array(tensors[given.input[1]])
            put(maker.input[0], np.round(bias.astype(np.float64) * old / new).astype(np.int32))
            put(maker.input[1], new)


def largest_neighbours(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """For each output channel of ``(O, I, kH, kW)``: the largest magnitude of one weight, or of the sum of two
    neighbours of the same sign.

    Kernels add products in pairs, along the input channels or along the window, depending on the memory layout.
    """
    largest = np.zeros(len(weight))
    for order in ((0, 2, 3, 1), (0, 1, 2, 3)):
        flat = weight.transpose(order).reshape(len(weight), -1).astype(np.float64)
        flat = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
        for sign in (1, -1):
            one = np.maximum(sign * flat, 0)
            largest = np.maximum(largest, (one[:, 0::2] + one[:, 1::2]).max(1))
    return largest


def _correct_biases(
    proto: onnx.ModelProto, source: onnx.ModelProto, tensors: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Shift the biases of the last convolutions, in place, so that their mean outputs equal those of ``source``.

    Source: Nagel et al. 2021, "A White Paper on Neural Network Quantization", section 3.3 (empirical bias correction).
    """
    last = set(_last_convolutions(source))
    outputs = [node.output[0] for node in source.graph.node if node.op_type == "Conv" and node.name in last]
    off = _channel_means(proto, outputs, tensors) - _channel_means(source, outputs, tensors)
    tensors_by_name = {initializer.name: initializer for initializer in proto.graph.initializer}
    makers = {node.output[0]: node for node in proto.graph.node}
    start = 0
    for output in outputs:
        node = makers[output]
        if len(node.input) < 3:  # the exporter drops a bias of zeros
            width = onnx.numpy_helper.to_array(tensors_by_name[node.input[1]]).shape[0]
            name = f"{node.name}.bias"
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(width, np.float32), name))
            tensors_by_name[name] = proto.graph.initializer[-1]
            node.input.append(name)
        bias = tensors_by_name[node.input[2]]
        value = onnx.numpy_helper.to_array(bias)
        wanted = (value - off[start : start + len(value)]).astype(value.dtype)
        bias.CopyFrom(onnx.numpy_helper.from_array(wanted, bias.name))
        start += len(value)


def _channel_means(
    proto: onnx.ModelProto, names: Sequence[str], tensors: Sequence[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """Mean of each channel of the tensors ``names``, ``(N, C, H, W)`` each, over all inputs, concatenated."""
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    sums = [
        np.concatenate([y.mean((0, 2, 3), dtype=np.float64) for y in session.run(names, {given: x})]) for x in tensors
    ]
    return np.asarray(np.mean(sums, axis=0))


def _keep_input_float(proto: onnx.ModelProto) -> None:
    """Connect the last sum to the graph's input again: the quantizer connected all readers to the rounded input."""
    given = proto.graph.input[0].name
    outputs = {value.name for value in proto.graph.output}
    rounded = {
        node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == given
    }
    back = {
        node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    for node in proto.graph.node:
        if node.op_type == "Add" and outputs & set(node.output):
            for index, name in enumerate(node.input):
                if name in back:
                    node.input[index] = given


@contextmanager
def _quiet_quantizer() -> Iterator[None]:
    # The quantizer logs advice to the root logger that has already been followed.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
