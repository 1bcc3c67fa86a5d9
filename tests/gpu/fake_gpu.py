"""A fake GPU for tests: ``plugins/cuda/fake_driver.cpp``, in a child process.

A process that loads the driver library keeps it, which would disturb tests of machines without one; so tests that use
it run in a child. Children are forked from a clean server, not from the test process, where decoders and networks of
other tests have threads, so that a fork may hang.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from animevid.gpu import fatbin

_TIMEOUT_SECONDS = 240
#: The package's kernels: the fake driver looks for code for its GPU there, and runs their CPU build.
IMAGE = Path(fatbin.__file__).with_name("animevid_kernels.fatbin").read_bytes()


def in_child(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test in a child process, and fail if it fails. Its arguments must be picklable."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["numpy", "cv2", "animevid", "onnxruntime", "cuda.bindings.driver", "pytest"])
        ours, theirs = context.Pipe(duplex=False)
        where = (test.__code__.co_filename, test.__name__)
        child = context.Process(target=_run, args=(theirs, where, args, kwargs, dict(os.environ)))
        child.start()
        theirs.close()
        said: str | None = "the child ended without a word"
        try:
            said = ours.recv() if ours.poll(_TIMEOUT_SECONDS) else f"no end after {_TIMEOUT_SECONDS} s"
        except EOFError:
            pass
        finally:
            child.kill()
            child.join()
        if said is not None:
            pytest.fail(f"{said} (exit code {child.exitcode})", pytrace=False)

    return run


def _run(
    report: Connection, where: tuple[str, str], args: tuple[Any, ...], kwargs: dict[str, Any], env: dict[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(env)
    said = None
    try:
        spec = importlib.util.spec_from_file_location(f"child_{Path(where[0]).stem}", where[0])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        getattr(module, where[1]).__wrapped__(*args, **kwargs)
    except BaseException:
        said = traceback.format_exc()[-8000:]
    report.send(said)
    sys.stdout.flush()
    os._exit(0)


class FakeGpu:
    """The fake driver, loaded into this process under the name of the real one."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        for name in ("fake_launched", "fake_graphs_launched", "fake_streams", "fake_busy_waits"):
            getattr(self._library, name).restype = ctypes.c_longlong
        self._library.fake_memory_used.restype = ctypes.c_ulonglong

    def seed(self, seed: int) -> None:
        """Select one of the execution orders that the streams allow."""
        self._library.fake_seed(ctypes.c_ulonglong(seed))

    def limit_memory(self, size: int) -> None:
        self._library.fake_memory_limit(ctypes.c_ulonglong(size))

    def lose_device_after(self, launches: int) -> None:
        self._library.fake_lose_device_after(ctypes.c_longlong(launches))

    def say_driver_version(self, version: int) -> None:
        self._library.fake_driver_version(ctypes.c_int(version))

    def say_compute_capability(self, major: int, minor: int) -> None:
        self._library.fake_compute_capability(ctypes.c_int(10 * major + minor))

    def fail_captures(self, count: int) -> None:
        """Let the next ``count`` stream captures fail, as with operations that cannot be captured."""
        self._library.fake_fail_captures(ctypes.c_int(count))

    @property
    def memory_used(self) -> int:
        return int(self._library.fake_memory_used())

    @property
    def busy_waits(self) -> int:
        """How often a thread busy-waited for an event."""
        return int(self._library.fake_busy_waits())

    @property
    def launched(self) -> int:
        return int(self._library.fake_launched())

    @property
    def graphs_launched(self) -> int:
        return int(self._library.fake_graphs_launched())

    @property
    def streams(self) -> int:
        return int(self._library.fake_streams())
