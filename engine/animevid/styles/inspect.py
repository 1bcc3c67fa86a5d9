"""Infers a card for an ONNX file without one, from its graph and from runs on small images.

Made for published networks: AnimeGANv2 and AnimeGANv3 (``1, H, W, 3`` in [-1, 1]), their PyTorch ports and CartoonGAN
(``N, 3, H, W``). Order of evidence: the caller's ``CardHints``, the graph (shapes, the last operator), the
behaviour on a small image. Networks of float16 and uint8, and those with a larger output, are adapted to the common
form (``styles.adapt``). Other networks are refused: classifiers, two inputs, other channel counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from animevid.card_hints import CardHints
from animevid.errors import StyleError
from animevid.styles.adapt import CAST_TYPES, UINT8, cast_to_float32, shrink_output
from animevid.styles.card import MAX_SIDE_PX, ColourOrder, Layout, StyleCard
from animevid.styles.onnx_file import FLOAT32, Graph, TensorInfo, read_graph

Array = npt.NDArray[np.float32]
Range = tuple[float, float]

#: The value ranges of image networks, the most common first.
RANGES: tuple[Range, ...] = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
#: Another range than the expected one is chosen only if its output is this much nearer to the input image.
_CLEARLY_BETTER = 0.6
_MAX_SCALE = 8
_MAX_BATCH = 64
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_PASSING = {"Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast", "DepthToSpace", "Slice", "Dropout"}


def infer_card(model: bytes, *, name: str, hints: CardHints | None = None) -> StyleCard:
    """The card of ``model``: :func:`look_at` without the adapted model."""
    return look_at(model, name=name, hints=hints)[1]


def look_at(model: bytes, *, name: str, hints: CardHints | None = None) -> tuple[bytes, StyleCard]:
    """``model`` (a serialized ONNX file), adapted for every backend, and its card.

    The model is returned unchanged if its input and output are float32 images of one size. It is run on small images,
    with ONNX Runtime on one thread.

    Raises:
        StyleError: not ONNX, not a stylizer, or it fails on every image.
    """
    hints = hints or CardHints()
    sha256 = hashlib.sha256(model).hexdigest()
    graph = read_graph(model)
    given, got = _only_tensors(graph, name)
    layout = Layout(hints.layout) if hints.layout else _layout_of(given, got, name)
    input_hint = hints.input_range or ((0.0, 255.0) if given.element_type == UINT8 else None)
    output_hint = hints.output_range or ((0.0, 255.0) if got.element_type == UINT8 else None)
    if (given.element_type, got.element_type) != (FLOAT32, FLOAT32):
        model = cast_to_float32(model, given, got)
    ends = read_graph(model)
    given, got = ends.inputs[0], ends.outputs[0]
    probe = _Probe(model, given, layout, name)
    colour_order = ColourOrder(hints.colour_order) if hints.colour_order else _colour_order(graph, layout)
    multiple = probe.size_multiple(hints.size_multiple)
    if probe.scale > 1:
        model = shrink_output(model, given, got, probe.scale, is_nhwc=layout is Layout.NHWC)
        probe = _Probe(model, given, layout, name)
    output_range = output_hint or _output_range_of(graph, layout)
    if input_hint and output_range:
        input_range: Range = input_hint
    else:
        input_range, output_range = probe.ranges(input_hint, output_range, multiple=multiple)
    card = StyleCard(
        name=name,
        description="no card in the file: limits inferred",
        layout=layout,
        colour_order=colour_order,
        input_range=input_range,
        output_range=output_range,
        size_multiple=multiple,
        fixed_size_px=probe.fixed_size_px,
        precision="int8" if any(node.op_type == "DequantizeLinear" for node in graph.nodes) else "fp32",
        weights_sha256=sha256,
    )
    return model, card


def _only_tensors(graph: Graph, name: str) -> tuple[TensorInfo, TensorInfo]:
    if graph.has_external_weights:
        raise StyleError(f"{name!r} keeps its weights in a second file; save it as one ONNX file (onnx.save does)")
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise StyleError(f"{name!r} is not a stylizer: it has {counts}; allowed is one image in, one out")
    given, got = graph.inputs[0], graph.outputs[0]
    for tensor in (given, got):
        if tensor.element_type != FLOAT32 and tensor.element_type not in CAST_TYPES:
            raise StyleError(
                f"{name!r} has {tensor.element_type = } (onnx.TensorProto) at {tensor.name!r}; allowed are "
                "float32 (1), float16 (10) and uint8 (2)"
            )
        if tensor.shape is not None and len(tensor.shape) != 4:
            raise StyleError(
                f"{name!r} is not a stylizer: {tensor.name!r} has the shape {_said(tensor)}; "
                "allowed are (N, 3, H, W) and (N, H, W, 3)"
            )
    return given, got


def _layout_of(given: TensorInfo, got: TensorInfo, name: str) -> Layout:
    first = last = None
    for tensor in (given, got):
        if tensor.shape is not None:
            first = tensor.shape[1] if isinstance(tensor.shape[1], int) else first
            last = tensor.shape[3] if isinstance(tensor.shape[3], int) else last
            ends = {size for size in (tensor.shape[1], tensor.shape[3]) if isinstance(size, int)}
            if ends and 3 not in ends and 24 not in ends and len(ends) == 2:
                raise _wrong_channels(name, given, got)
    if 3 in (first, last):
        return Layout.NCHW if first == 3 else Layout.NHWC
    if first == 24:
        return Layout.PACKED_YUV420
    if first is not None and last is None:
        raise _wrong_channels(name, given, got)
    raise StyleError(
        f"{name!r} does not say where its 3 channels are: {_said(given)} to {_said(got)}; give the layout: NCHW or NHWC"
    )


def _wrong_channels(name: str, given: TensorInfo, got: TensorInfo) -> StyleError:
    return StyleError(
        f"{name!r} is not a stylizer: it takes {_said(given)} and gives {_said(got)}; allowed are 3 channels in and out"
    )


def _said(tensor: TensorInfo) -> str:
    if tensor.shape is None:
        return "(?)"
    return f"({', '.join('?' if size is None else str(size) for size in tensor.shape)})"


def _colour_order(graph: Graph, layout: Layout) -> ColourOrder:
    if layout is Layout.PACKED_YUV420:
        return ColourOrder.YUV
    # The published CartoonGAN reads and gives BGR. Its decoder alone, of the known stylizers, follows each of its two
    # transposed convolutions by a 3x3 convolution; CycleGAN (RGB), which it grew from, does not.
    kinds = [node.op_type for node in graph.nodes if node.op_type in ("Conv", "ConvTranspose")]
    kernels = [
        graph.weights.get(node.inputs[1], ())[2:]
        for node in graph.nodes
        if node.op_type == "Conv" and len(node.inputs) > 1
    ]
    decoder = ["ConvTranspose", "Conv", "ConvTranspose", "Conv", "Conv"]
    if layout is Layout.NCHW and kinds[-5:] == decoder and kernels[0] == kernels[-1] == (7, 7):
        return ColourOrder.BGR
    return ColourOrder.RGB


def _output_range_of(graph: Graph, layout: Layout) -> Range | None:
    """The output range by the last operator, where it is Tanh or Sigmoid."""
    if layout is Layout.PACKED_YUV420:
        return (-1.0, 1.0)
    makers = {output: node for node in graph.nodes for output in node.outputs}
    node = makers.get(graph.outputs[0].name)
    while node is not None and node.op_type in _PASSING and node.inputs:
        node = makers.get(node.inputs[0])
    if node is None:
        return None
    return {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0)}.get(node.op_type)


class _Probe:
    """Runs the model on small images."""

    def __init__(self, model: bytes, given: TensorInfo, layout: Layout, name: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        # A graph that runs once is not worth optimizing.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the only base of its exception classes is Exception
            raise StyleError(f"{name!r} is not a model that ONNX Runtime reads ({_first_line(error)})") from error
        self._layout = layout
        self._name = name
        self._given = given.name
        #: The ratio of output to input sides in the last run.
        self.scale = 1
        shape = given.shape or (None,) * 4
        self._count = shape[0] if isinstance(shape[0], int) else 1
        height, width = (shape[axis] for axis in layout.spatial_axes)
        self.fixed_size_px: tuple[int, int] | None = None
        if isinstance(height, int) and isinstance(width, int):
            self.fixed_size_px = (height * layout.cell_px, width * layout.cell_px)
            if max(self.fixed_size_px) > MAX_SIDE_PX or self._count > _MAX_BATCH:
                raise StyleError(
                    f"{name!r} takes {_said(given)} only; allowed are sides up to {MAX_SIDE_PX} px and "
                    f"{_MAX_BATCH} images at a time"
                )
        elif isinstance(height, int) or isinstance(width, int):
            raise StyleError(
                f"{name!r} has one side fixed: {_said(given)}; allowed are both free or both fixed: export it again"
            )

    def size_multiple(self, known_px: int | None = None) -> int:
        """The smallest power of two, in pixels, for which images with sides that are multiples of it keep their size;
        ``known_px``, if given, is only verified. For a model with a fixed size: 1, unless known.

        Raises:
            StyleError: none up to 64 does, or ``known_px`` does not.
        """
        cell = self._layout.cell_px
        if self.fixed_size_px is not None:
            self._run_of_size(*self.fixed_size_px)
            return known_px or 1
        failure: StyleError | None = None
        for multiple in (max(1, known_px // cell),) if known_px else _MULTIPLES:
            # An odd number of multiples on both sides, so that a larger multiple cannot pass for this one.
            height, width = ((least // multiple | 1) * multiple * cell for least in (33, 65))
            try:
                self._run_of_size(height, width)
                return multiple * cell
            except StyleError as error:
                failure = error
        assert failure is not None
        raise failure

    def ranges(self, input_range: Range | None, output_range: Range | None, *, multiple: int) -> tuple[Range, Range]:
        """The ranges with which a smooth image changes least, since a stylizer keeps the content of an image.

        A linear network behaves the same in every range, so the expected one (that of the last operator, or [-1, 1]) is
        kept unless another is clearly better.
        """
        size = self.fixed_size_px or tuple(max(1, 64 // multiple) * multiple for _ in range(2))
        image = _soft_image(size[0] // self._layout.cell_px, size[1] // self._layout.cell_px, self._layout)
        batch = np.repeat(image[np.newaxis], self._count, axis=0)
        outputs: dict[Range, Array] = {}
        expected = output_range or input_range or RANGES[0]
        best: tuple[float, Range, Range] | None = None
        for into, out in self._pairs(input_range, output_range, expected):
            if into not in outputs:
                outputs[into] = self._run(into[0] + (into[1] - into[0]) * batch)
            shown = (outputs[into] - out[0]) / (out[1] - out[0])
            distance = float(np.mean(np.abs(np.clip(shown, -1.0, 2.0) - batch)))
            if best is None or distance < best[0] * _CLEARLY_BETTER:
                best = (distance, into, out)
        assert best is not None
        return best[1], best[2]

    @staticmethod
    def _pairs(input_range: Range | None, output_range: Range | None, expected: Range) -> Iterator[tuple[Range, Range]]:
        """The expected pair, then pairs of equal ranges, then the rest."""
        inputs = (input_range,) if input_range else (expected, *(r for r in RANGES if r != expected))
        outputs = (output_range,) if output_range else (expected, *(r for r in RANGES if r != expected))
        pairs = [(into, out) for into in inputs for out in outputs]
        yield from sorted(pairs, key=lambda pair: pair[0] != pair[1])

    def _run_of_size(self, height: int, width: int) -> Array:
        cell = self._layout.cell_px
        image = _soft_image(height // cell, width // cell, self._layout)
        return self._run(np.repeat(image[np.newaxis] * 2.0 - 1.0, self._count, axis=0))

    def _run(self, batch: Array) -> Array:
        """Raises:
        StyleError: it fails on this size or returns another shape.
        """
        try:
            output = np.asarray(self._session.run(None, {self._given: np.ascontiguousarray(batch, np.float32)})[0])
        except Exception as error:
            raise StyleError(f"{self._name!r} fails on an image of {batch.shape} ({_first_line(error)})") from error
        self.scale = _scale_of(output.shape, batch.shape, self._layout)
        if not self.scale:
            raise StyleError(
                f"{self._name!r} is not a stylizer: it gives {output.shape} for an image of {batch.shape}; "
                f"allowed is an image of the same size or 2 to {_MAX_SCALE} times it"
            )
        result: Array = output.astype(np.float32)
        return result


def _scale_of(got: tuple[int, ...], given: tuple[int, ...], layout: Layout) -> int:
    """The integer factor between the sides of ``got`` and ``given``; 0 if there is none."""
    if got == given:
        return 1
    if len(got) != 4 or layout is Layout.PACKED_YUV420:
        return 0
    factor = got[layout.spatial_axes[0]] // given[layout.spatial_axes[0]]
    larger = tuple(size * factor if axis in layout.spatial_axes else size for axis, size in enumerate(given))
    return factor if got == larger and 1 < factor <= _MAX_SCALE else 0


def _soft_image(height: int, width: int, layout: Layout) -> Array:
    """A smooth colour image from black to white: ``(C, H, W)`` or ``(H, W, C)`` in [0, 1]."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    waves = [0.5 + 0.5 * np.sin(2 * np.pi * (x * (1 + c % 3) * 0.7 + y * (1.6 - c % 3 * 0.4)) + c) for c in range(3)]
    image = np.stack([waves[c % 3] for c in range(layout.channels)])
    ordered = np.moveaxis(image, 0, -1) if layout is Layout.NHWC else image
    return np.ascontiguousarray(ordered, np.float32)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
