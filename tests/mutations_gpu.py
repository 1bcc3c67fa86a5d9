"""Breaks the GPU path in one user-visible place at a time and checks that tests fail.

``python tests/mutations_gpu.py`` from the repository's root, works like ``mutations_engine.py``; half an hour on two
cores, since most tests compile a fake driver. ``--only WORD`` selects some.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mutating import Mutation, Mutator
from mutations_engine import PACKAGE, PRELOADED, WORDS

_OPTIONS = "io/test_encoders.py::test_ffmpeg_knows_every_option_that_nvenc_is_given_and_takes_its_value"
_CONTEXT = "gpu/test_codecs.py::test_ffmpeg_takes_the_primary_context_opened_by_any_library"
_SURFACES = "gpu/test_codecs.py::test_keeping_every_frame_takes_no_surface_from_the_decoder"
_DRIVER = "gpu/test_driver.py gpu/test_fatbin.py"
_TARGET = "gpu/test_builder.py::test_an_engine_names_the_capability_of_its_gpu_to_tensorrt_for_rtx"
_TILES = "gpu/test_on_device.py::test_a_network_that_does_not_fit_sees_tiles_and_draws_the_same_frames"
_SHARED = "gpu/test_on_device.py::test_slots_share_neither_scratch_memory_nor_contexts_of_tensorrt"
_SMALL = "gpu/test_slots.py::test_a_small_network_is_upsampled_and_blended_on_the_device"
_OTHERS = "gpu/test_interop.py::test_others_memory_is_read_and_written_in_the_order_of_their_stream"
_STEADY = "gpu/test_deflicker.py::test_a_stream_is_as_steady_in_slots_as_on_the_cpu"


def _mutation(what: str, file: str, tests: str, old: str, new: str) -> Mutation:
    return Mutation(what, file, old, new, tuple(f"tests/{test}" for test in tests.split()))


MUTATIONS: tuple[Mutation, ...] = (
    _mutation(
        "NVENC is left to its bit rate",
        "io/encoders.py",
        "io/test_encoders.py::test_nvenc_is_never_left_to_its_two_megabits",
        '"cq": f"{max(quality, 1):g}", "b": "0"',
        "",
    ),
    _mutation("an option that NVENC does not have", "io/encoders.py", _OPTIONS, '"tune": "hq"', '"tuning": "hq"'),
    _mutation(
        "a preset that NVENC does not have", "io/encoders.py", _OPTIONS, '_NVENC_PRESET = "p5"', '_NVENC_PRESET = "p8"'
    ),
    _mutation(
        "more surfaces than FFmpeg counts",
        "io/sources/container.py",
        _SURFACES,
        "self._decoder = VideoDecoder(open_decoder(self._stream, 1 if on_device else threads), self._stream)",
        'decoder = open_decoder(self._stream, 1); decoder.options = {"extra_hw_frames": "14"}; '
        "self._decoder = VideoDecoder(decoder, self._stream)",
    ),
    _mutation(
        "FFmpeg opens the primary context itself",
        "gpu/codecs.py",
        _CONTEXT,
        '{"primary_ctx": "0", "current_ctx": "1"}',
        '{"primary_ctx": "1", "current_ctx": "0"}',
    ),
    _mutation("CUDA 13 for everybody", "gpu/driver.py", _DRIVER, "OLDEST_DRIVER = 12000", "OLDEST_DRIVER = 13000"),
    _mutation(
        "a library is not asked what it needs of the driver",
        "gpu/tensorrt/library.py",
        _DRIVER,
        "if driver_version and needed is not None",
        "if False and needed is not None",
    ),
    _mutation(
        "the newest compiler's kernels for every driver",
        "gpu/fatbin.py",
        _DRIVER,
        "if path == _PACKAGED and driver_version:",
        "if False:",
    ),
    _mutation(
        "engines without a capability",
        "gpu/tensorrt/cache.py",
        _TARGET,
        '(library.name, request.target) == ("tensorrt_rtx", "current")',
        "False",
    ),
    _mutation(
        "TensorRT for RTX is taken on an H100",
        "gpu/tensorrt/library.py",
        "gpu/test_builder.py::test_a_gpu_that_tensorrt_for_rtx_does_not_run_on_is_refused_with_tensorrt_or_torch_as_alternatives",
        '"8.9", "12.0", "12.1")',
        '"8.9", "9.0", "12.0", "12.1")',
    ),
    _mutation(
        "CUDA's libraries are not loaded for ONNX Runtime",
        "backends/onnxruntime.py",
        "backends/test_choice.py",
        "            _preload_cuda()",
        "            pass",
    ),
    _mutation(
        "out of memory ends it",
        "gpu/plan.py",
        _TILES,
        "    tile = _smaller_tile(plan)\n",
        "    tile = None\n",
    ),
    _mutation(
        "tiles see too little around them",
        "render/tiles.py",
        _TILES,
        "    margin = ceil(margin / step) * step\n    result = []",
        "    margin = 0\n    result = []",
    ),
    _mutation(
        "one scratch buffer for all slots",
        "gpu/tensorrt/network.py",
        _SHARED,
        "context.set_device_memory(self._memory[slot], size)",
        "context.set_device_memory(next(iter(self._memory.values())), size)",
    ),
    _mutation(
        "one context for all slots",
        "gpu/tensorrt/network.py",
        _SHARED,
        "        context = self._contexts.get((slot, shape))\n        if context is None:",
        "        slot = 0\n        context = self._contexts.get((slot, shape))\n        if context is None:",
    ),
    _mutation("another radius", "gpu/kernels.py", _SMALL, "radius: int = 1", "radius: int = 2"),
    _mutation(
        "another epsilon",
        "gpu/steps.py",
        _SMALL,
        "epsilon=plan.card.upsample_epsilon",
        "epsilon=1e4 * plan.card.upsample_epsilon",
    ),
    _mutation(
        "a small network on a GPU too",
        "render/stylizer.py",
        "gpu/test_on_device.py::test_the_network_sees_all_of_a_frame_on_a_gpu_and_what_the_style_was_made_for_on_the_cpu",
        "if self._backend.frame_runner is None else 0",
        "",
    ),
    _mutation(
        "a settled frame does not wait for the one before",
        "gpu/deflicker.py",
        _STEADY,
        'self._device.call("cuStreamWaitEvent", stream, output_done, 0)',
        "pass",
    ),
    _mutation(
        "nor does what it reads",
        "gpu/deflicker.py",
        _STEADY,
        'self._device.call("cuStreamWaitEvent", stream, input_done, 0)',
        "pass",
    ),
    _mutation(
        "no frame is the same as the one before",
        "gpu/comparer.py",
        "gpu/test_codecs.py::test_a_video_that_nvdec_decodes_settles_and_skips_what_did_not_change_as_on_the_cpu",
        "return bool(ctypes.c_uint.from_address(self._host).value)",
        "return True",
    ),
    _mutation(
        "a graph that is captured for each strength and colour",
        "gpu/slot.py",
        "gpu/test_slots.py::test_one_graph_serves_every_range_and_strength",
        "key = self.count\n",
        "key = id(self.frames)\n",
    ),
    _mutation(
        "others' streams are not waited for",
        "gpu/slot.py",
        _OTHERS,
        'device.call("cuStreamWaitEvent", self.stream, self._done, 0)',
        "pass",
    ),
)

MUTATOR = Mutator(PACKAGE, PRELOADED, WORDS, refused=(3, 4, 5), timeout_seconds=600)


def main(arguments: Sequence[str] | None = None) -> int:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is imported
    return MUTATOR.main(MUTATIONS, arguments, script=__file__, about=__doc__)


if __name__ == "__main__":
    sys.exit(main())
