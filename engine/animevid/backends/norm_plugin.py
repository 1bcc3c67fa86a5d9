"""Our norm kernel inside TensorRT: layer or instance norm and LeakyReLU as one custom operator, an ``IPluginV3``.

``fuse_norms`` writes the operator into a graph; ``register`` tells TensorRT what it is: the library that CMake builds
where it is given TensorRT's headers (``plugins/tensorrt``), or else a plugin in Python that launches the same kernels
from the fatbin and needs no headers. Both have one name and version, so that an engine that was built with one runs
with the other.

Engines are built without it unless asked for (``EngineRequest.norm_plugin``, ``ANIMEVID_NORM_PLUGIN=1``): TensorRT has
norms of its own, in the layout that its convolutions like, and what this saves in passes over memory it may lose in
changes of layout. ``benchmarks/gpu_check.py`` measures which is faster. It has never run on a GPU: see docs/gpu.md.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from animevid.backends.base import one_line
from animevid.backends.cuda import kernels
from animevid.errors import BackendError, StyleError

if TYPE_CHECKING:
    import onnx

    from animevid.backends.tensorrt_builder import Library

#: Of the operator and of the plugin. Raised with ``VERSION`` when the fields or what they mean change.
NAME, DOMAIN, VERSION = "AnimevidNorm", "animevid", "1"
#: "1": norms run in our kernel. Off until ``benchmarks/gpu_check.py`` has shown that it wins.
VARIABLE = "ANIMEVID_NORM_PLUGIN"
#: The C++ plugin, where it was built and installed.
_NATIVE = Path(__file__).parent / "cuda" / "libanimevid_tensorrt.so"
_ACTIVATIONS = {"LeakyRelu": 0.01, "Relu": 0.0}

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class NormFields:
    """What a plugin is made with and what an engine keeps of it: ``y = normal(x) * scale + shift``, then LeakyReLU.

    ``layer``: normalized over C, H, W; else over H, W. ``slope`` 1 is no LeakyReLU, 0 is ReLU.
    """

    layer: bool
    epsilon: float = 1e-5
    slope: float = 1.0

    def workspace_bytes(self, shape: Shape) -> int:
        """Room for the partial statistics of an input of ``shape`` (N, C, H, W)."""
        count, channels, height, width = shape
        groups, size = (count, channels * height * width) if self.layer else (count * channels, height * width)
        return 12 * groups * kernels.norm_chunks(size)


def is_wanted() -> bool:
    """Whether this process is to build and run engines with the plugin (``ANIMEVID_NORM_PLUGIN=1``)."""
    return os.environ.get(VARIABLE) == "1"


def fuse_norms(model: bytes) -> bytes:
    """``model`` (a serialized float32 ONNX file) with each norm and the activation behind it as one ``AnimevidNorm``.

    Found are instance norms, layer norms as torch exports them (``GroupNorm`` of one group: an instance norm of what
    was reshaped to one channel, reshaped back, scaled and shifted), and a Relu or LeakyRelu that reads nothing else.

    Raises:
        StyleError: not an ONNX model.
        BackendError: the package onnx is missing.
    """
    try:
        import onnx
        import onnx.numpy_helper
        import onnx.shape_inference
    except ModuleNotFoundError as error:
        raise BackendError('the norm plugin needs the package onnx; pip install "animevid[gpu]"') from error
    try:
        proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=False)
    except Exception as error:
        raise StyleError(f"the file is not a valid ONNX model ({one_line(error)})") from error
    fused = _Fusion(proto).apply()
    if fused:
        proto.opset_import.append(onnx.helper.make_opsetid(DOMAIN, int(VERSION)))
    return bytes(proto.SerializeToString()) if fused else model


class _Fusion:
    """One walk over a graph, which it changes."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        import onnx

        self._onnx, self._graph = onnx, proto.graph
        self._nodes: list[onnx.NodeProto] = list(proto.graph.node)
        self._made_by = {name: node for node in self._nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        for value in proto.graph.output:  # the graph itself reads it: nothing may be fused over it
            self._readers.setdefault(value.name, []).append(onnx.NodeProto())
        self._weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._types = {value.name: value for value in (*proto.graph.value_info, *proto.graph.input)}

    def apply(self) -> int:
        """How many norms were fused."""
        gone: set[str] = set()
        after: dict[str, onnx.NodeProto] = {}
        for node in self._nodes:
            if node.op_type == "InstanceNormalization":
                found = self._instance_norm(node) or self._layer_norm(node)
                if found is not None:
                    replaced, new = found
                    gone |= {name for old in replaced for name in old.output}
                    after[replaced[-1].output[0]] = new
        if not after:
            return 0
        kept = []
        for node in self._nodes:
            if node.output and node.output[0] in after:
                kept.append(after[node.output[0]])
            elif not gone.intersection(node.output):
                kept.append(node)
        read = {name for node in kept for name in node.input}
        del self._graph.node[:]
        # Shapes that only a replaced Reshape read are nobody's now.
        self._graph.node.extend(node for node in kept if node.op_type != "Shape" or read.intersection(node.output))
        return len(after)

    def _instance_norm(self, node: onnx.NodeProto) -> tuple[list[onnx.NodeProto], onnx.NodeProto] | None:
        scale, shift = (self._weight(name) for name in node.input[1:3])
        if scale is None or shift is None or self._rank(node.input[0]) != 4:
            return None
        return self._finished(
            [node], node.input[0], scale, shift, layer=False, epsilon=_attribute(node, "epsilon", 1e-5)
        )

    def _layer_norm(self, node: onnx.NodeProto) -> tuple[list[onnx.NodeProto], onnx.NodeProto] | None:
        before, back = self._made_by.get(node.input[0]), self._only_reader(node.output[0])
        ones, zeros = (self._weight(name) for name in node.input[1:3])
        if before is None or back is None or ones is None or zeros is None:
            return None
        shape = self._weight(before.input[1]) if before.op_type == "Reshape" else None
        one_channel = shape is not None and shape.tolist() == [0, 1, -1]
        if not one_channel or back.op_type != "Reshape" or self._rank(before.input[0]) != 4:
            return None
        if ones.tolist() != [1.0] or zeros.tolist() != [0.0] or self._only_reader(before.output[0]) is None:
            return None
        multiply = self._only_reader(back.output[0])
        add = self._only_reader(multiply.output[0]) if multiply is not None else None
        if multiply is None or add is None or (multiply.op_type, add.op_type) != ("Mul", "Add"):
            return None
        scale, shift = self._other(multiply, back.output[0]), self._other(add, multiply.output[0])
        if scale is None or shift is None or scale.shape != shift.shape or scale.shape[-2:] != (1, 1):
            return None
        parts = [before, node, back, multiply, add]
        epsilon = _attribute(node, "epsilon", 1e-5)
        return self._finished(parts, before.input[0], scale.ravel(), shift.ravel(), layer=True, epsilon=epsilon)

    def _finished(
        self, parts: list[onnx.NodeProto], source: str, scale: Any, shift: Any, *, layer: bool, epsilon: float
    ) -> tuple[list[onnx.NodeProto], onnx.NodeProto]:
        activation = self._only_reader(parts[-1].output[0])
        slope = 1.0
        if activation is not None and activation.op_type in _ACTIVATIONS:
            parts = [*parts, activation]
            slope = _attribute(activation, "alpha", _ACTIVATIONS[activation.op_type])
        output = parts[-1].output[0]
        names = []
        for suffix, values in (("scale", scale), ("shift", shift)):
            names.append(f"{output}_{suffix}")
            array = np.ascontiguousarray(values, np.float32)
            self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, names[-1]))
        node = self._onnx.helper.make_node(NAME, [source, *names], [output], name=f"norm_{output}", domain=DOMAIN)
        for name, value in (("layer", int(layer)), ("epsilon", float(epsilon)), ("slope", float(slope))):
            node.attribute.append(self._onnx.helper.make_attribute(name, value))
        return parts, node

    def _only_reader(self, name: str) -> onnx.NodeProto | None:
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].output else None

    def _other(self, node: onnx.NodeProto, name: str) -> Any:
        others = [other for other in node.input if other != name]
        return self._weight(others[0]) if len(others) == 1 else None

    def _weight(self, name: str) -> Any:
        tensor = self._weights.get(name)
        if tensor is not None:
            return self._onnx.numpy_helper.to_array(tensor)
        node = self._made_by.get(name)
        if node is None or node.op_type != "Constant" or node.attribute[0].name != "value":
            return None
        return self._onnx.numpy_helper.to_array(node.attribute[0].t)

    def _rank(self, name: str) -> int:
        value = self._types.get(name)
        return len(value.type.tensor_type.shape.dim) if value is not None else 0


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    return next((float(attribute.f) for attribute in node.attribute if attribute.name == name), default)


def register(library: Library, *, native: Path | None = None) -> str:
    """Make ``AnimevidNorm`` known to TensorRT in this process. Safe to call twice.

    ``native``: the C++ plugin; without it, the installed one if there is one. Returns ``"c++"`` or ``"python"``.

    Raises:
        BackendError: TensorRT refuses it, or others can write the file.
    """
    registry: Any = library.module.get_plugin_registry()
    known = registry.get_creator(NAME, VERSION, "")
    if known is not None:
        return "python" if isinstance(known, _creator_class(library.module)) else "c++"
    path = native or (_NATIVE if _NATIVE.is_file() else None)
    if path is not None:
        from animevid.backends.tensorrt_builder import refuse_what_others_can_write

        refuse_what_others_can_write(path)
        registry.load_library(str(path))
        if registry.get_creator(NAME, VERSION, "") is None:
            raise BackendError(f"{str(path)!r} is no norm plugin of version {VERSION}; build it again, or delete it")
        return "c++"
    creator = _creator_class(library.module)()
    if not registry.register_creator(creator, ""):
        raise BackendError(
            f"{library.name} {library.version} does not take the norm plugin; unset ANIMEVID_NORM_PLUGIN"
        )
    _KEPT.append(creator)
    return "python"


#: TensorRT keeps a creator by its address.
_KEPT: list[Any] = []


def enqueue_norm(
    fields: NormFields, *, shape: Shape, half: bool, pointers: Sequence[int], workspace: int, stream: int
) -> None:
    """Launch the norm on ``stream`` of the current context; ``pointers``: input, scale, shift, output.

    Raises:
        BackendError, DeviceError: no kernels, or the device failed.
    """
    source, scale, shift, target = pointers
    launches = kernels.norm(
        source, target, shape=shape, layer=fields.layer, partials=workspace, scale=scale, shift=shift, half=half,
        epsilon=fields.epsilon, slope=fields.slope,
    )  # fmt: skip
    driver, function = _loaded_kernels()
    from animevid.backends.cuda.driver import check

    for launch in launches:
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(launch.params))
        check(
            driver,
            driver.cuLaunchKernel(
                function(launch.kernel), *launch.grid, *launch.block, 0, stream, ctypes.addressof(arguments), 0
            ),
        )


def _loaded_kernels() -> tuple[Any, Callable[[str], Any]]:
    """The driver, and kernels by name in the context that TensorRT runs in now."""
    from animevid.backends.cuda.driver import check, load_driver

    driver = load_driver()
    return driver, _functions(int(check(driver, driver.cuCtxGetCurrent())))


@cache
def _functions(context: int) -> Callable[[str], Any]:
    """Kernels of the fatbin, loaded once into a context (by its address), which keeps them.

    The device's primary context is held from then on: another one could come at the same address, without them.
    """
    from animevid.backends.cuda.driver import check, load_driver
    from animevid.backends.cuda.fatbin import load_fatbin

    driver = load_driver()
    check(driver, driver.cuDevicePrimaryCtxRetain(check(driver, driver.cuCtxGetDevice())))
    module = check(driver, driver.cuModuleLoadData(load_fatbin()))
    return cache(lambda name: check(driver, driver.cuModuleGetFunction(module, name.encode())))


@cache
def _plugin_class(trt: Any) -> Any:
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)

    class NormPlugin(*bases):  # type: ignore[misc]
        def __init__(self, fields: NormFields) -> None:
            for base in bases:
                base.__init__(self)
            self.plugin_name, self.plugin_version, self.plugin_namespace = NAME, VERSION, ""
            self.num_outputs = 1
            self._fields = fields

        def get_capability_interface(self, type: Any) -> Any:
            return self

        def clone(self) -> Any:
            return NormPlugin(self._fields)

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        # --- while it is built ---

        def get_output_data_types(self, input_types: Any) -> Any:
            return [input_types[0]]

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, expr_builder: Any) -> Any:
            return [trt.DimsExprs(inputs[0])]

        def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
            desc = in_out[pos].desc
            if desc.format != trt.TensorFormat.LINEAR:
                return False
            if pos == 0:
                return bool(desc.type in (trt.DataType.HALF, trt.DataType.FLOAT))
            # Scale and shift are float32; the output is of the input's type.
            return bool(desc.type == (trt.DataType.FLOAT if pos < num_inputs else in_out[0].desc.type))

        def configure_plugin(self, in_: Any, out: Any) -> None:
            pass

        def get_workspace_size(self, in_: Any, out: Any) -> int:
            return self._fields.workspace_bytes(_shape(in_[0].max))

        def get_valid_tactics(self) -> Any:
            return []

        # --- while it runs ---

        def set_tactic(self, tactic: int) -> None:
            pass

        def on_shape_change(self, in_: Any, out: Any) -> None:
            pass

        def get_fields_to_serialize(self) -> Any:
            return trt.PluginFieldCollection(_to_plugin_fields(trt, self._fields))

        def enqueue(
            self, input_desc: Any, output_desc: Any, inputs: Any, outputs: Any, workspace: int, stream: int
        ) -> None:
            enqueue_norm(
                self._fields, shape=_shape(input_desc[0].dims), half=input_desc[0].type == trt.DataType.HALF,
                pointers=[*map(int, inputs), int(outputs[0])], workspace=int(workspace), stream=int(stream),
            )  # fmt: skip

    return NormPlugin


@cache
def _creator_class(trt: Any) -> Any:
    class NormPluginCreator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_version, self.plugin_namespace = NAME, VERSION, ""
            self.field_names = trt.PluginFieldCollection(
                _to_plugin_fields(trt, NormFields(layer=False), named_only=True)
            )

        def create_plugin(self, name: str, fc: Any, phase: Any) -> Any:
            values = {field.name: np.asarray(field.data).ravel()[0] for field in fc}
            return _plugin_class(trt)(
                NormFields(bool(values["layer"]), float(values["epsilon"]), float(values["slope"]))
            )

    return NormPluginCreator


def _to_plugin_fields(trt: Any, fields: NormFields, *, named_only: bool = False) -> list[Any]:
    kinds = {"layer": (np.int32, "INT32"), "epsilon": (np.float32, "FLOAT32"), "slope": (np.float32, "FLOAT32")}
    return [
        trt.PluginField(
            name, np.array([] if named_only else [getattr(fields, name)], dtype), getattr(trt.PluginFieldType, kind)
        )
        for name, (dtype, kind) in kinds.items()
    ]


def _shape(dims: Any) -> Shape:
    count, channels, *sides = (int(side) for side in dims)
    return count, channels, sides[0] if sides else 1, math.prod(sides[1:])
