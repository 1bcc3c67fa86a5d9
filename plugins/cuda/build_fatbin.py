"""Build the fatbin that the package ships: ``python plugins/cuda/build_fatbin.py`` (``make kernels``). Needs no GPU.

NVRTC 12.8 compiles the kernels, since PyPI has it (requirements.txt) but not nvcc 12.8. Every driver from 525 on that
knows the GPU loads CUDA 12's machine code; CUDA 13's has a newer ELF version, which drivers for CUDA 12 reject. The
code is compressed with LZ4 (``--compress-mode=speed``): the mode "size" needs driver 550.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from manifest import ARCHITECTURES, FATBIN, MANIFEST, PTX, ROOT, disagreements, write_manifest

#: NVRTC has no headers of the standard library.
_CSTDINT = b"#pragma once\nnamespace std { using uint8_t = unsigned char; using uint16_t = unsigned short; }\n"
_OPTIONS = ("-std=c++17", "-default-device", "--fmad=false")


class Nvrtc:
    """NVRTC from NVIDIA's wheels.

    Raises:
        SystemExit: the wheels are not installed.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(_wheel("cuda_nvrtc") / "lib" / "libnvrtc.so.12"))
        includes = [_wheel("cuda_runtime") / "include", _wheel("cuda_cccl") / "include", ROOT / "plugins" / "cuda"]
        self._options = [*_OPTIONS, *(f"-I{folder}" for folder in includes)]

    @property
    def version(self) -> str:
        """``"12.8"``."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, architecture: int, *, ptx: bool = False) -> bytes:
        """Machine code or PTX of all kernels for one compute capability (``86``)."""
        program = ctypes.c_void_p()
        source = (ROOT / "plugins/cuda/kernels.cu").read_bytes()
        contents, names = (ctypes.c_char_p * 1)(_CSTDINT), (ctypes.c_char_p * 1)(b"cstdint")
        self._call("nvrtcCreateProgram", ctypes.byref(program), source, b"kernels.cu", 1, contents, names)
        options = [*self._options, f"--gpu-architecture={'compute' if ptx else 'sm'}_{architecture}"]
        failed = self._library.nvrtcCompileProgram(
            program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options))
        )
        if failed:
            raise SystemExit(self._result(program, "ProgramLog").decode(errors="replace"))
        return self._result(program, "PTX" if ptx else "CUBIN").rstrip(b"\0" if ptx else b"")

    def _result(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, content)
        return content.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise SystemExit(f"{name} gave {status}")


def pack(code: Mapping[tuple[str, int], bytes]) -> bytes:
    """A fatbin of machine code (``("elf", 86)``) and PTX (``("ptx", 75)``)."""
    tool = (
        shutil.which("fatbinary") or shutil.which("fatbinary", path="/usr/local/cuda/bin") or _wheel_tool("fatbinary")
    )
    with tempfile.TemporaryDirectory() as name:
        folder, images = Path(name), []
        for (kind, architecture), content in code.items():
            (folder / f"{kind}{architecture}").write_bytes(content)
            images.append(f"--image3=kind={kind},sm={architecture},file={kind}{architecture}")
        command = [tool, "-64", "--compress-all", "--compress-mode=speed", "--create", "out.fatbin", *images]
        subprocess.run(command, check=True, cwd=folder)
        return (folder / "out.fatbin").read_bytes()


def _wheel(name: str) -> Path:
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        if (Path(folder) / name).is_dir():
            return Path(folder) / name
    raise SystemExit(f"nvidia/{name} is not installed; pip install -r plugins/cuda/requirements.txt")


def _wheel_tool(name: str) -> str:
    for tool in _wheel("cu13").glob(f"bin/{name}*"):
        return str(tool)
    raise SystemExit(f"{name} is not here; pip install -r plugins/cuda/requirements.txt")


def main() -> int:
    nvrtc = Nvrtc()
    wanted = [("elf", one) for one in ARCHITECTURES] + [("ptx", one) for one in PTX]
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda what: nvrtc.compile(what[1], ptx=what[0] == "ptx"), wanted)
        code = dict(zip(wanted, made, strict=True))
    FATBIN.write_bytes(pack(code))
    write_manifest(compiler=f"NVRTC {nvrtc.version}", code=code)
    lines = disagreements()
    sys.stderr.write("".join(f"{line}\n" for line in lines) or f"written: {FATBIN} and {MANIFEST.name}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
