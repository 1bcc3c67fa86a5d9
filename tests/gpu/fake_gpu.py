"""A GPU for tests that is none: ``plugins/cuda/fake_driver.cpp``, in a child process of its own.

The driver library stays in the process that loads it, where other tests ask what happens without one; so a test that
uses it runs in a fork.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def in_child(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test in a forked child, and fail as it fails."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                test(*args, **kwargs)
                code = 0
            except BaseException:
                os.write(write, traceback.format_exc()[-8000:].encode())
            finally:
                sys.stdout.flush()
                os._exit(code)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        if status != 0:
            pytest.fail(said or f"the child ended with status {status}", pytrace=False)

    return run


class FakeGpu:
    """The fake driver, loaded into this process under the real one's name."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        for name in ("fake_launched", "fake_graphs_launched", "fake_streams"):
            getattr(self._library, name).restype = ctypes.c_longlong
        self._library.fake_memory_used.restype = ctypes.c_ulonglong

    def seed(self, seed: int) -> None:
        """Choose among the orders that the streams allow."""
        self._library.fake_seed(ctypes.c_ulonglong(seed))

    def limit_memory(self, size: int) -> None:
        self._library.fake_memory_limit(ctypes.c_ulonglong(size))

    def lose_device_after(self, launches: int) -> None:
        self._library.fake_lose_device_after(ctypes.c_longlong(launches))

    def say_driver_version(self, version: int) -> None:
        self._library.fake_driver_version(ctypes.c_int(version))

    @property
    def memory_used(self) -> int:
        return int(self._library.fake_memory_used())

    @property
    def launched(self) -> int:
        return int(self._library.fake_launched())

    @property
    def graphs_launched(self) -> int:
        return int(self._library.fake_graphs_launched())

    @property
    def streams(self) -> int:
        return int(self._library.fake_streams())
