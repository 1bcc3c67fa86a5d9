"""What the GPU of this machine does with our GPU path: ``python benchmarks/gpu_check.py`` writes benchmarks/GPU.md.

It compares the kernels with their NumPy references over odd sizes and every backend with ONNX Runtime on real pictures,
times kernels beside a copy of as many bytes, each style and AnimeGANv2 at 360p, 720p, 1080p and 4K in slots, the
convolutions of AnimeGANv2 against what the card sustains in matrix products, and the overlap of slots; converts a clip
with decoder and encoder on the GPU; and runs the kernels under compute-sanitizer. Each section has its own process,
for a GPU that is lost in one, or a library that ends its process, must not take the others along; what cannot run says
why, and the rest goes on. GPU.md is written after each.

``--kernels`` compares the kernels alone: plugins/cuda/sanitize.sh runs that under compute-sanitizer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from animevid.backends import available_backends, open_backend
from animevid.backends.base import one_line
from animevid.errors import AnimevidError
from animevid.gpu import kernels
from animevid.gpu.driver import Device, open_device
from animevid.gpu.kernels import Surface, SurfaceLayout, surface_layout
from animevid.gpu.precision import BOUNDS, Parity
from animevid.gpu.tensorrt.library import Library, find_library
from animevid.parity import network_batch, read_pictures
from animevid.pixels import PlanesYUV420, chroma_size, padded_size
from animevid.pixels.blend import blend_ref
from animevid.pixels.guided_upsample import guided_upsample_ref
from animevid.pixels.packed import pack_yuv420_ref, unpack_yuv420_ref
from animevid.pixels.rgb import planes_to_tensor_ref, tensor_to_planes_ref
from animevid.styles import Style, list_styles, load_style

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpu_speed
from gpu_speed import EngineTimer, GpuQueue, KernelTime, Overlap, Rate, noise_picture

_ROOT = Path(__file__).resolve().parent.parent
SIZES = {"360p": (360, 640), "720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
_ODD_SIZES = ((1, 1), (2, 3), (9, 31), (33, 65), (90, 161), (271, 479))
_GPU_BACKENDS = ("tensorrt", "torch")
#: Largest difference from the reference that is rounding: tensors on [-1, 1], or codes of 8 bits.
_ALLOWED = {"pack": 1e-4, "unpack": 1, "lift": 1, "to_rgb": 1e-4, "from_rgb": 1, "blend": 0, "norm": 1e-4}
#: No section takes longer on a GPU that works.
_SECTION_SECONDS = 1800
_SANITIZER = "compute-sanitizer over the kernels"
#: The issue's targets.
_MAX_OVER_FLOOR, _MIN_OF_MATRIX, _MAX_HOST_MS = 1.3, 0.6, 0.3


@dataclass(frozen=True, slots=True)
class Compared:
    """A kernel against its reference. ``difference`` in units of what is allowed per 8-bit code or on [-1, 1]."""

    kernel: str
    name: str
    difference: float

    @property
    def agrees(self) -> bool:
        return self.difference <= _ALLOWED[self.kernel]


def compare_kernels(gpu: GpuQueue) -> list[Compared]:
    """Every kernel over odd sizes, depths and layouts, in float32; codes of deep pictures count as codes of 8 bits."""
    rows: list[Compared] = []
    for size in _ODD_SIZES:
        for bit_depth, pixel_format in ((8, "yuv420p"), (8, "nv12"), (10, "yuv420p"), (10, "nv12")):
            name = f"{size[1]}x{size[0]} {pixel_format} {bit_depth} bit"
            code = float(1 << (bit_depth - 8))
            picture = noise_picture(size, bit_depth)
            layout = surface_layout(*size, bit_depth=bit_depth, pixel_format=pixel_format)
            padded = padded_size(size)
            surface = Surface(layout, gpu.upload(_to_memory(picture, layout)), picture.colour)
            rng = np.random.default_rng(1)

            def drawn_into(
                launch: Callable[[Surface], Any], layout: SurfaceLayout = layout, picture: PlanesYUV420 = picture
            ) -> PlanesYUV420:
                memory = np.zeros(layout.total_bytes, np.uint8)
                result = gpu.upload(memory)
                gpu.launch(launch(Surface(layout, result, picture.colour)))
                return _from_memory(gpu.download(result, memory), picture, layout)

            tensor = np.zeros((24, padded[0] // 4, padded[1] // 4), np.float32)
            address = gpu.upload(tensor)
            gpu.launch(kernels.pack(surface, address, size=size, padded=padded, half=False))
            packed = gpu.download(address, tensor)
            rows.append(Compared("pack", name, _apart(packed, pack_yuv420_ref(picture))))

            drawn = rng.uniform(-1.2, 1.2, tensor.shape).astype(np.float32)
            address = gpu.upload(drawn)
            got = drawn_into(partial(kernels.unpack, address, padded=padded, half=False))
            rows.append(Compared("unpack", name, _codes_apart(got, unpack_yuv420_ref(drawn, like=picture)) / code))

            rgb = np.zeros((3, *size), np.float32)
            address = gpu.upload(rgb)
            gpu.launch(kernels.to_rgb(surface, address, size=size, padded=size, half=False))
            expected = planes_to_tensor_ref(
                picture, layout="NCHW", order="RGB", value_range=(-1.0, 1.0), size=size, multiple=1
            )
            rows.append(Compared("to_rgb", name, _apart(gpu.download(address, rgb), expected)))

            drawn = rng.uniform(-1.2, 1.2, rgb.shape).astype(np.float32)
            address = gpu.upload(drawn)
            got = drawn_into(partial(kernels.from_rgb, address, padded=size, half=False))
            planes = tensor_to_planes_ref(drawn, like=picture, layout="NCHW", order="RGB")
            rows.append(Compared("from_rgb", name, _codes_apart(got, planes) / code))

            other = picture.with_planes(
                *(np.ascontiguousarray(p[::-1, ::-1]) for p in (picture.y, picture.u, picture.v))
            )
            memory = _to_memory(other, layout)
            result = gpu.upload(memory)
            gpu.launch(kernels.blend(surface, Surface(layout, result, picture.colour), strength=0.3))
            got = _from_memory(gpu.download(result, memory), picture, layout)
            rows.append(Compared("blend", name, _codes_apart(got, blend_ref(picture, other, strength=0.3))))

            if min(size) > 8:
                small = (size[0] // 2, size[1] // 2)
                rows.append(Compared("lift", name, _compare_lift(gpu, drawn_into, picture, surface, small) / code))
    rows += [
        Compared("norm", f"{shape} {'layer' if layer else 'instance'}", _compare_norm(gpu, shape, layer=layer))
        for shape in ((1, 1, 1, 1), (2, 3, 5, 7), (1, 5, 1, 333), (2, 4, 181, 183))
        for layer in (True, False)
    ]
    return rows


def _compare_lift(
    gpu: GpuQueue,
    drawn_into: Callable[..., PlanesYUV420],
    picture: PlanesYUV420,
    source: Surface,
    small: tuple[int, int],
) -> float:
    padded = padded_size(small)
    rng = np.random.default_rng(2)
    low_in, low_out = (rng.uniform(-1, 1, (24, padded[0] // 4, padded[1] // 4)).astype(np.float32) for _ in "12")
    scratch = gpu.upload(np.zeros(kernels.lift_scratch_bytes(small), np.uint8))
    got = drawn_into(
        lambda to: kernels.lift(
            source, to, low_in=gpu.upload(low_in), low_out=gpu.upload(low_out), size=small, padded=padded,
            scratch=scratch, half=False,
        )
    )  # fmt: skip
    return _codes_apart(got, guided_upsample_ref(picture, low_in, low_out, size=small))


def _compare_norm(gpu: GpuQueue, shape: tuple[int, int, int, int], *, layer: bool) -> float:
    """From the definition in float64 (Ba et al. 2016; Ulyanov et al. 2016), on what was normalized to about [-1, 1]."""
    rng = np.random.default_rng(3)
    x = rng.normal(3.0, 2.0, shape).astype(np.float32)
    scale, shift = (rng.normal(size=shape[1]).astype(np.float32) for _ in "12")
    axes = (1, 2, 3) if layer else (2, 3)
    wide = x.astype(np.float64)
    normal = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    expected = normal * scale[:, None, None] + shift[:, None, None]
    expected = np.where(expected >= 0, expected, expected * 0.2)
    target = gpu.upload(np.full_like(x, np.nan))
    gpu.launch(
        kernels.norm(
            gpu.upload(x), target, shape=shape, layer=layer, partials=gpu.allocate(12 * 256 * shape[0] * shape[1]),
            scale=gpu.upload(scale), shift=gpu.upload(shift), half=False, slope=0.2,
        )
    )  # fmt: skip
    return _apart(gpu.download(target, x), expected)


def compare_backends(styles: Sequence[tuple[str, Style]], pictures: Sequence[PlanesYUV420]) -> list[tuple[str, ...]]:
    """(style, backend, difference from ONNX Runtime on the CPU over ``pictures``, or why it did not run)."""
    rows: list[tuple[str, ...]] = []
    for name, style in styles:
        batches = [network_batch(picture, style.card) for picture in pictures]
        unit = abs(style.card.output_range[1] - style.card.output_range[0]) / 2
        with open_backend(style.model, style.card, backend="onnxruntime", device="cpu") as reference:
            expected = [reference.run(batch) for batch in batches]
        for status in available_backends():
            said = status.unavailable_reason
            if said is None:
                try:
                    with open_backend(style.model, style.card, backend=status.name) as backend:
                        parity = Parity.between(zip(expected, map(backend.run, batches), strict=True), unit=unit)
                        verdict = "" if parity.within(BOUNDS["fp16"]) else "DIFFERS: "
                        said = f"{verdict}{parity} ({backend.description})"
                except Exception as error:  # a runtime's own: the other backends are compared all the same
                    said = f"FAILED: {one_line(error)}"
            rows.append((name, status.name, said))
    return rows


def animegan2() -> tuple[str, Style]:
    """AnimeGANv2's generator as the trainer knows it, with random weights: for speed, not for looks.

    Raises:
        AnimevidError: PyTorch or the trainer is missing.
    """
    try:
        import torch
        from animevid_trainer.export import make_card, to_onnx
        from animevid_trainer.generators import make_generator
    except ImportError as error:
        raise AnimevidError(f'AnimeGANv2 needs the trainer ({error}); pip install "animevid[train]"') from error
    torch.manual_seed(0)
    generator = make_generator("animegan2").eval()
    path = Path(tempfile.mkdtemp(prefix="animevid-gpu-check-")) / "AnimeGANv2.onnx"
    path.write_bytes(to_onnx(generator, card=make_card(generator, name="AnimeGANv2")))
    return "AnimeGANv2", load_style(path)


class Wrong(Exception):
    """A section ran, and what it found is not as it should be."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("wrong")
        self.lines = lines


class Report:
    """Markdown, section by section. A section that fails says why, and the next one is tried."""

    def __init__(self, title: Sequence[str]) -> None:
        self.lines = list(title)
        self.failed: list[str] = []

    def section(self, title: str, work: Callable[[], list[str]]) -> None:
        sys.stderr.write(f"gpu_check: {title}\n")
        try:
            lines = work()
        except Wrong as wrong:
            self.failed.append(title)
            lines = wrong.lines
        except Exception as error:  # one part of a machine must not hide the others
            self.failed.append(title)
            lines = [f"Did not run: {' '.join(str(error).split())[:300] or type(error).__name__}"]
        self.lines += ["", f"## {title}", "", *lines]

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def compared_lines(compared: Sequence[Compared]) -> list[str]:
    """One row a kernel: its largest difference, and where it is too large."""
    rows = []
    for kernel in dict.fromkeys(row.kernel for row in compared):
        of_kernel = [row for row in compared if row.kernel == kernel]
        wrong = [row.name for row in of_kernel if not row.agrees]
        worst = max(row.difference for row in of_kernel)
        rows.append((kernel, len(of_kernel), f"{worst:.2g}", f"WRONG: {', '.join(wrong)}" if wrong else "agrees"))
    return table(("kernel", "comparisons", "largest difference", "with its reference"), rows)


def kernel_lines(timed: Sequence[KernelTime]) -> list[str]:
    """Each kernel beside its floor. Target: 1.3 for what comes before and behind the network."""
    rows = [(row.name, f"{row.us:.1f}", f"{row.floor_us:.1f}", f"{row.us / row.floor_us:.2f}") for row in timed]
    over = [row.name for row in timed if row.us > _MAX_OVER_FLOOR * row.floor_us]
    said = f"Above the target of {_MAX_OVER_FLOOR}: {', '.join(over)}." if over else "All within the target."
    return [*table(("kernel", "us", "us of a copy of as many bytes", "ratio"), rows), "", said]


def rate_lines(rates: Sequence[Rate]) -> list[str]:
    """Pictures a second of each style, backend and size."""
    rows = [
        (r.style, r.backend, r.size, r.trouble) if r.trouble
        else (r.style, r.backend, r.size, f"{r.fps:.1f}", f"{r.host_ms:.2f}", r.way)
        for r in rates
    ]  # fmt: skip
    slots = [r.host_ms for r in rates if r.way == "slots"]
    lines = table(("style", "backend", "size", "pictures a second", "host ms a picture", "way"), rows)
    if slots:
        lines += ["", f"Host time in slots: {min(slots):.2f} to {max(slots):.2f} ms (target: {_MAX_HOST_MS})."]
    return lines


def overlap_lines(overlaps: Sequence[Overlap]) -> list[str]:
    """What slots hide."""
    rows = [
        (o.label, *(f"{us:.0f}" for us in (o.copy_in_us, o.compute_us, o.copy_out_us, o.one_slot_us, o.slots_us)),
         f"{o.ratio:.2f}", f"{o.bound_us / o.slots_us:.0%}")
        for o in overlaps
    ]  # fmt: skip
    header = ("picture", "copy in", "compute", "copy out", "one slot", "three slots", "overlap", "of the slowest part")
    return [*table(header, rows), "", "Microseconds a picture; the host's own copies are part of the last two."]


def title_of(device: Device) -> list[str]:
    """What stands above the sections."""
    return [
        "# Measured on a GPU",
        "",
        f"{device.name}, compute capability {device.compute_capability}, driver for CUDA {device.driver_version}, "
        f"{time.strftime('%Y-%m-%d')}; written by benchmarks/gpu_check.py.",
    ]


#: In the order of the report. ``sections`` has the work of each.
TITLES = (
    "Kernels against their references",
    "Backends against ONNX Runtime",
    "Kernels against memory bandwidth",
    "Pictures a second",
    "Share of matrix throughput",
    "Overlap of copies and work",
    "Decoder and encoder",
)


def sections(
    device: Device,
    gpu: GpuQueue,
    *,
    styles: Sequence[tuple[str, Style]],
    reference: Callable[[], tuple[str, Style]] = animegan2,
    sizes: dict[str, tuple[int, int]] = SIZES,
    seconds: float = 2.0,
    times: int = 100,
    matrix: dict[str, int] | None = None,
) -> dict[str, Callable[[], list[str]]]:
    """The work of every title. ``reference``: the network whose speed is compared with others' (AnimeGANv2)."""
    folder = Path(tempfile.mkdtemp(prefix="animevid-gpu-check-"))
    known: list[tuple[str, Style]] = []

    def published() -> tuple[str, Style]:
        if not known:
            known.append(reference())
        return known[0]

    def all_styles() -> tuple[list[tuple[str, Style]], list[str]]:
        """The styles and the reference, or a line that says why there is none: the styles are measured all the same."""
        try:
            return [*styles, published()], []
        except AnimevidError as error:
            return [*styles], ["", f"Without the reference: {error}"]

    def library() -> Library:
        return find_library(compute_capability=device.compute_capability)

    def timer() -> EngineTimer:
        return EngineTimer(gpu, library(), folder=folder)

    def compare() -> list[str]:
        compared = compare_kernels(gpu)
        if not all(row.agrees for row in compared):
            raise Wrong(compared_lines(compared))
        return compared_lines(compared)

    def parity() -> list[str]:
        compared, said = all_styles()
        rows = compare_backends(compared, read_pictures(count=2))
        lines = [*table(("style", "backend", "difference from ONNX Runtime"), rows), *said]
        if any(row[2].startswith(("DIFFERS", "FAILED")) for row in rows):
            raise Wrong(lines)
        return lines

    def rates() -> list[str]:
        timed, said = all_styles()
        found = [
            gpu_speed.time_style(style, name, backend, label, size, seconds=seconds)
            for name, style in timed
            for backend in _GPU_BACKENDS
            for label, size in sizes.items()
        ]
        return [*rate_lines(found), *said]

    def matrix_share() -> list[str]:
        engines, (name, style) = timer(), published()
        sustained = engines.matrix_throughput(**(matrix or {}))
        rows = []
        for label, size in sizes.items():
            flop = gpu_speed.convolution_flop(style.model, style.card, size)
            us = engines.microseconds(style.model, style.card, size)
            rows.append((f"{name} {label}", f"{flop / 1e9:.0f}", f"{us:.0f}", f"{flop / us / 1e6:.1f}",
                         f"{flop / (us * 1e-6) / sustained:.0%}"))  # fmt: skip
        return [
            f"A chain of matrix products in half precision sustains {sustained / 1e12:.1f} TFLOP/s here.",
            "",
            *table(("network", "GFLOP of convolutions", "us", "TFLOP/s", "of what is sustained"), rows),
            "",
            "The time is that of the whole network, norms and activations included. "
            f"Target: {_MIN_OF_MATRIX:.0%} at 1080p.",
        ]

    def overlaps() -> list[str]:
        found = library()
        return overlap_lines(
            [
                gpu_speed.time_overlap(gpu, style, f"{name} {label}", size, library=found, folder=folder)
                for name, style in styles[:1]
                for label, size in sizes.items()
            ]
        )

    def whole() -> list[str]:
        return [f"- {line}" for line in gpu_speed.convert_on_the_gpu(styles[0][1], seconds=2 * seconds)]

    def against_bandwidth() -> list[str]:
        return kernel_lines(gpu_speed.time_kernels(gpu, sizes, times=times))

    work = (compare, parity, against_bandwidth, rates, matrix_share, overlaps, whole)
    return dict(zip(TITLES, work, strict=True))


def in_a_process(title: str, *, seconds: float, script: Path = Path(__file__)) -> list[str]:
    """The lines of a section that runs in a process of its own.

    Raises:
        Wrong: what it found is not as it should be, or it failed.
        RuntimeError: the process ended without a word, or did not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "section.json"
        command = [sys.executable, str(script), "--section", title, "--seconds", str(seconds), "--out", str(found)]
        try:
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=_SECTION_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no end after {_SECTION_SECONDS} s; that GPU or its driver hangs") from None
        if not found.is_file():
            last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
            raise RuntimeError(f"its process ended with {done.returncode} ({last[:200]})")
        lines, failed = json.loads(found.read_text())
    if failed:
        raise Wrong(lines)
    return [str(line) for line in lines]


def run_section(title: str, *, seconds: float) -> tuple[list[str], bool]:
    """One section in this process: its lines, and whether it failed."""
    report = Report([])

    def work() -> list[str]:
        styles = [(style.path.stem, style) for style in list_styles()]
        with open_device() as device:
            return sections(device, GpuQueue(device), styles=styles, seconds=seconds)[title]()

    report.section(title, work)
    return report.lines[3:], bool(report.failed)


def sanitize() -> list[str]:
    """One line for each tool of compute-sanitizer.

    Raises:
        Wrong: it found something, or it is not here.
    """
    done = subprocess.run(
        ["bash", str(_ROOT / "plugins" / "cuda" / "sanitize.sh")],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=2 * _SECTION_SECONDS,
        check=False,
    )  # fmt: skip
    lines = [
        f"- {line.removeprefix('sanitize: ')}" for line in done.stdout.splitlines() if line.startswith("sanitize: ")
    ]
    if done.returncode:
        raise Wrong(lines or [f"Did not run: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"])
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kernels", action="store_true", help="only compare the kernels with their references")
    parser.add_argument("--section", choices=TITLES, help="only this section, as JSON")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each rate is measured (default 2)")
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "GPU.md")
    args = parser.parse_args()
    if args.section:
        args.out.write_text(json.dumps(run_section(args.section, seconds=args.seconds)))
        return 0
    try:
        with open_device() as device:
            if args.kernels:
                return _compare_only(device)
            report = Report(title_of(device))
    except AnimevidError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 6
    work = {title: partial(in_a_process, title, seconds=args.seconds) for title in TITLES}
    for title, lines_of in {**work, _SANITIZER: sanitize}.items():
        report.section(title, lines_of)
        args.out.write_text(str(report))
    print(f"written: {args.out}")
    for failed in report.failed:
        print(f"gpu_check: failed: {failed}", file=sys.stderr)
    return 1 if report.failed else 0


def _compare_only(device: Device) -> int:
    compared = compare_kernels(GpuQueue(device))
    wrong = [row for row in compared if not row.agrees]
    for row in wrong:
        print(f"gpu_check: {row.kernel} {row.name} differs by {row.difference:g}", file=sys.stderr)
    print(f"{len(compared) - len(wrong)} of {len(compared)} comparisons of kernels agree")
    return 1 if wrong else 0


def _apart(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The largest difference; NaN, which nobody wrote over, is infinitely far."""
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(np.where(np.isnan(difference), np.inf, difference).max())


def _views(memory: np.ndarray[Any, Any], layout: SurfaceLayout) -> list[np.ndarray[Any, Any]]:
    dtype = np.dtype(np.uint8 if layout.sample_bytes == 1 else np.uint16)
    sizes = (layout.size, chroma_size(layout.size), chroma_size(layout.size))
    steps = [layout.sample_bytes * (2 if layout.pixel_format == "nv12" and plane else 1) for plane in range(3)]
    parts = zip(sizes, layout.offsets, layout.pitches, steps, strict=True)
    return [np.ndarray(size, dtype, memory, offset, (pitch, step)) for size, offset, pitch, step in parts]


def _shift(layout: SurfaceLayout) -> int:
    return 16 - layout.bit_depth if layout.pixel_format == "nv12" and layout.bit_depth > 8 else 0


def _to_memory(picture: PlanesYUV420, layout: SurfaceLayout) -> np.ndarray[Any, Any]:
    memory = np.zeros(layout.total_bytes, np.uint8)
    for view, plane in zip(_views(memory, layout), (picture.y, picture.u, picture.v), strict=True):
        view[:] = plane << _shift(layout)
    return memory


def _from_memory(memory: np.ndarray[Any, Any], like: PlanesYUV420, layout: SurfaceLayout) -> PlanesYUV420:
    y, u, v = (np.ascontiguousarray(view >> _shift(layout)) for view in _views(memory, layout))
    return like.with_planes(y, u, v)


def _codes_apart(one: PlanesYUV420, other: PlanesYUV420) -> float:
    pairs = ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    return float(max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in pairs))


if __name__ == "__main__":
    sys.exit(main())
