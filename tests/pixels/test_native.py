"""Which kernels are used, and that they release the GIL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from animevid.pixels import native, pack_yuv420
from pixels.frames import noise

needs_native = pytest.mark.skipif(not native.is_native(), reason="no compiled kernels: see plugins/cpu")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def test_the_environment_can_force_the_references():
    result = run("import animevid.pixels as p; print(p.is_native())", ANIMEVID_NO_NATIVE="1")
    assert result.stdout.strip() == "False"
    assert result.stderr == ""


def test_a_missing_extension_is_reported_once_and_the_references_run():
    code = """
import importlib.abc, logging, sys
logging.basicConfig(format="%(name)s %(message)s")
class NoExtension(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "animevid._native":
            raise ImportError("not built")
sys.meta_path.insert(0, NoExtension())
import numpy as np
from animevid.pixels import PlanesYUV420, is_native, pack_yuv420, unpack_yuv420
z = np.full((8, 8), 16, np.uint8)
frame = PlanesYUV420(z, z[:4, :4], z[:4, :4])
unpack_yuv420(pack_yuv420(frame), like=frame)
print(is_native())
"""
    result = run(code, ANIMEVID_NO_NATIVE="")
    assert result.stdout.strip() == "False"
    assert result.stderr.count("slower") == 1
    assert result.stderr.startswith("animevid.pixels.native ")


def test_importing_the_pixels_does_not_import_opencv():
    code = "import sys, animevid.pixels; print('cv2' in sys.modules)"
    assert run(code).stdout.strip() == "False"


@pytest.fixture
def threads_only_switch_when_asked() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(5)
    yield
    sys.setswitchinterval(before)


@needs_native
@pytest.mark.usefixtures("threads_only_switch_when_asked")
def test_another_thread_runs_while_a_kernel_works():
    frame = noise(2048, 2048)
    out = np.empty((24, 512, 512), np.float32)
    progress, stop = [0], threading.Event()

    def work() -> None:
        while not stop.is_set():
            progress[0] += 1
            time.sleep(1e-4)  # releases the GIL, so that the kernel's thread can continue

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(500):
            before = progress[0]
            pack_yuv420(frame, out=out)
            if progress[0] > before + 1:  # one turn may be before the call
                return
    finally:
        stop.set()
        thread.join()
    pytest.fail("the other thread never ran during 500 calls: the kernel holds the GIL")


@needs_native
def test_arrays_of_another_type_or_layout_are_refused_and_not_copied():
    y, out = np.zeros((8, 8), np.uint8), np.empty((4, 4), np.uint8)
    for wrong in (np.empty((4, 4), np.uint16), np.empty((4, 8), np.uint8)[:, ::2], np.empty((4, 4), np.float32)):
        with pytest.raises((TypeError, ValueError)):
            native.kernels.resize_plane(y, wrong)
    native.kernels.resize_plane(y, out)
    assert (out == 0).all()


@needs_native
def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="instruction_sets"):
        native.kernels.use_instruction_set("mmx")
    assert native.kernels.instruction_set() == native.kernels.instruction_sets()[0]
