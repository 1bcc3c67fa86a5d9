"""The contract of ``backends.base``, tested on every installed backend."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from animevid.backends import Backend, open_backend
from animevid.backends.base import check_output
from animevid.errors import BackendError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles import list_styles
from animevid.styles.card import ColourOrder, Layout, StyleCard
from onnx.reference import ReferenceEvaluator
from small_networks import Builder, packed_network, rgb_network

PACKED = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
NCHW = StyleCard(name="nchw", size_multiple=2)
NHWC = replace(NCHW, name="nhwc", layout=Layout.NHWC)
KINDS = {
    "packed": (packed_network(), PACKED),
    "nchw": (rgb_network(), NCHW),
    "nhwc": (rgb_network(nhwc=True), NHWC),
}
#: A quarter of an 8-bit code on [-1, 1]: float32 sums differ in order, and some convolutions use Winograd's algorithm.
TOLERANCE = 2e-3


def _batch(card: StyleCard, count: int = 1, height: int = 48, width: int = 80, seed: int = 0) -> np.ndarray:
    shape = card.tensor_shape(count, height, width)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def backend(backend_name, kind):
    model, card = kind
    with open_backend(model, card, RuntimeOptions(backend=backend_name, threads=2)) as opened:
        yield opened


def test_it_computes_what_the_onnx_reference_computes(backend: Backend, kind):
    model, card = kind
    batch = _batch(card, 2)
    expected = ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"input": batch})[0]
    np.testing.assert_allclose(backend.run(batch), expected, atol=TOLERANCE)


def test_it_gives_float32_of_the_shape_that_it_was_given_for_any_size(backend: Backend, kind):
    for count, height, width in ((1, 48, 80), (3, 16, 24), (2, 104, 8), (1, 48, 80)):
        batch = _batch(kind[1], count, height, width)
        output = backend.run(batch)
        assert (output.shape, output.dtype) == (batch.shape, np.float32)


def test_a_batch_of_three_equals_three_single_runs(backend: Backend, kind):
    batch = _batch(kind[1], 3)
    singles = np.concatenate([backend.run(batch[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(backend.run(batch), singles, atol=TOLERANCE)


def test_the_result_is_the_callers_own_and_the_input_is_left_alone(backend: Backend, kind):
    first, second = _batch(kind[1], seed=1), _batch(kind[1], seed=2)
    untouched = first.copy()
    result = backend.run(first)
    kept = result.copy()
    backend.run(second)
    np.testing.assert_array_equal(result, kept)
    np.testing.assert_array_equal(first, untouched)
    result[:] = 0.0  # writable
    np.testing.assert_array_equal(backend.run(first), kept)


def test_runs_from_several_threads_at_once_do_not_mix(backend: Backend, kind):
    # Sizes differ too: a backend that keeps one set of buffers must not confuse them.
    batches = [_batch(kind[1], 1, 16 + 8 * (i % 3), 24, seed=i) for i in range(6)]
    alone = [backend.run(batch) for batch in batches]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(backend.run, batches * 3))
    for result, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_allclose(result, expected, atol=TOLERANCE)


def test_it_lets_other_python_threads_run_while_it_computes(backend_name):
    with open_backend(
        packed_network(width=64, blocks=4), PACKED, RuntimeOptions(backend=backend_name, threads=1)
    ) as backend:
        batch = _batch(PACKED, 1, 720, 1280)
        backend.run(batch)
        running, done = threading.Event(), threading.Event()

        def work() -> None:
            running.set()
            backend.run(batch)
            done.set()

        thread = threading.Thread(target=work)
        thread.start()
        running.wait()
        ticks = 0
        while not done.is_set():
            time.sleep(0.002)
            ticks += 1
        thread.join()
    # A run takes some hundred milliseconds. If it held the GIL, this loop would run only once or twice.
    assert ticks > 5


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_number_of_threads_changes_no_frame(backend_name, threads):
    model, card = KINDS["packed"]
    batch = _batch(card)
    with open_backend(model, card, RuntimeOptions(backend=backend_name, threads=threads)) as some:
        result = some.run(batch)
        assert f"{threads or ''} thread" in some.description
    with open_backend(model, card, RuntimeOptions(backend=backend_name, threads=2)) as two:
        np.testing.assert_allclose(result, two.run(batch), atol=TOLERANCE)


def test_it_says_what_runs_and_how_many_it_likes(backend: Backend):
    assert backend.description.startswith(backend.name)
    assert backend.device_name in backend.description
    assert "\n" not in backend.description
    assert backend.preferred_batch >= 1


def test_closing_twice_is_safe_and_running_afterwards_is_refused(backend: Backend, kind):
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run(_batch(kind[1]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda batch: batch.astype(np.float64),
        lambda batch: batch.astype(np.uint8),
        lambda batch: batch[0],
        lambda batch: batch[:0],
        lambda batch: np.ascontiguousarray(batch[:, :2, :, :2]),
        lambda batch: batch[:, :, ::-1],
    ],
    ids=["float64", "uint8", "no-batch-axis", "empty", "channels", "not-contiguous"],
)
def test_a_batch_outside_the_limits_is_refused_and_the_next_one_runs(backend: Backend, kind, spoil):
    good = _batch(kind[1])
    with pytest.raises(UsageError) as caught:
        backend.run(spoil(good))
    assert "\n" not in str(caught.value)
    assert backend.run(good).shape == good.shape


def test_a_size_that_is_not_a_multiple_is_refused(backend_name):
    model, card = KINDS["nchw"]
    with (
        open_backend(model, card, RuntimeOptions(backend=backend_name)) as backend,
        pytest.raises(UsageError, match="multiples of 2"),
    ):
        backend.run(_batch(card, 1, 15, 16))


def test_a_network_with_one_fixed_size_and_batch_takes_any_count_of_that_size_only(backend_name):
    card = replace(PACKED, fixed_size_px=(48, 80))
    with open_backend(packed_network(n=1, h=12, w=20), card, RuntimeOptions(backend=backend_name)) as backend:
        batch = _batch(card, 3)
        whole = backend.run(batch)
        np.testing.assert_allclose(whole[1:2], backend.run(batch[1:2]), atol=TOLERANCE)
        with pytest.raises(UsageError, match=r"\(48, 80\) only"):
            backend.run(_batch(card, 1, 48, 88))


def test_a_network_that_changes_the_size_is_an_error_of_the_style(backend_name):
    net = Builder()
    model = net.model(net.twice_as_large("input"), ["N", 3, "H", "W"], ["N", 3, "H2", "W2"])
    with (
        open_backend(model, NCHW, RuntimeOptions(backend=backend_name)) as backend,
        pytest.raises(BackendError, match="gave"),
    ):
        backend.run(_batch(NCHW))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_an_error_of_the_style(value):
    output = np.full((1, 3, 32, 32), 3e38, np.float32)  # finite, though their sum is not
    check_output(output, output, StyleCard(name="x"))
    output[0, 1, 5, 7] = value
    with pytest.raises(BackendError, match="NaN or infinity"):
        check_output(output, output, StyleCard(name="x"))


@pytest.mark.parametrize("content", [b"", b"not a model" * 50, packed_network()[:-200]], ids=["empty", "text", "cut"])
def test_what_is_not_onnx_is_refused_in_one_line(backend_name, content):
    with pytest.raises(BackendError) as caught:
        open_backend(content, PACKED, RuntimeOptions(backend=backend_name))
    assert "\n" not in str(caught.value)


def test_two_inputs_are_refused(backend_name):
    net = Builder()
    proto = onnx.load_from_string(net.model(net.op("Add", "input", "input"), ["N", 3, "H", "W"]))
    second = proto.graph.input.add()
    second.CopyFrom(proto.graph.input[0])
    second.name = "mask"
    proto.graph.node[0].input[1] = "mask"
    with pytest.raises(BackendError, match="input"):
        open_backend(proto.SerializeToString(), NCHW, RuntimeOptions(backend=backend_name))


def test_an_unknown_device_is_refused(backend_name):
    with pytest.raises(UsageError, match="teapot"):
        open_backend(KINDS["nchw"][0], NCHW, RuntimeOptions(backend=backend_name, device="teapot"))


_ALONE = """
import sys
asked = []
# A fork counts too: OpenVINO's telemetry sends from a child, which this hook does not follow.
watched = ("socket.", "os.fork")
sys.addaudithook(lambda event, args: asked.append((event, args)) if event.startswith(watched) else None)
import numpy as np
from animevid.backends import open_backend
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard
card = StyleCard(name="x", size_multiple=2)
with open_backend(open(sys.argv[1], "rb").read(), card, RuntimeOptions(backend=sys.argv[2])) as backend:
    backend.run(np.zeros((1, 3, 16, 16), np.float32))
import time
time.sleep(0.5)  # a telemetry thread would have started by now
asked += [name for name in sys.modules if "telemetry" in name and not name.startswith("openvino.")]
sys.exit(f"asked the network: {asked}" if asked else 0)
"""


def test_it_prints_nothing_on_stdout_and_asks_the_network_for_nothing(backend_name, tmp_path: Path):
    style = tmp_path / "style.onnx"
    style.write_bytes(KINDS["nchw"][0])
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(style), backend_name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


_SHIPPED = [style for style in list_styles() if style.path.parent.name == "styles" and "animevid" in style.path.parts]


@pytest.mark.parametrize("style", _SHIPPED, ids=lambda style: style.path.stem)
def test_every_shipped_style_gives_the_same_frame_on_every_backend(backend_name, style):
    card = style.card
    batch = _batch(card, 1, 96, 128)
    with open_backend(style.model, card, RuntimeOptions(backend="onnxruntime", threads=1)) as first:
        expected = first.run(batch)
    with open_backend(style.model, card, RuntimeOptions(backend=backend_name, threads=2)) as other:
        np.testing.assert_allclose(other.run(batch), expected, atol=2e-2)


def test_signals_are_handled_after_backends_were_closed_in_any_order(backend_name):
    program = f"""
import os, signal
import numpy as np
from animevid.backends import open_backend
from animevid.options import RuntimeOptions
from small_networks import packed_network
from small_styles import PACKED

first, second = (open_backend(packed_network(), PACKED, RuntimeOptions(backend={backend_name!r})) for _ in range(2))
for backend in (first, second):
    backend.run(np.zeros((1, 24, 8, 8), np.float32))
first.close(); del first
second.close(); del second, backend
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["handled"], done.stderr
