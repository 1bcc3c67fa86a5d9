"""Records the sources of the shipped fatbin in a manifest beside it; ``build_fatbin.py`` writes it.

``python plugins/cuda/manifest.py`` checks that fatbin, manifest and sources agree; it needs no compiler. NVRTC's output
for the same sources is identical in any folder: if NVRTC is installed, a test compiles one and compares.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FATBIN = ROOT / "engine" / "animevid" / "gpu" / "animevid_kernels.fatbin"
MANIFEST = FATBIN.with_suffix(".json")
#: Compute capabilities with machine code.
ARCHITECTURES = (75, 80, 86, 89, 90, 120)
#: Compute capabilities with PTX: the oldest for GPUs without machine code (such as SM100), the newest for later GPUs.
PTX = (ARCHITECTURES[0], ARCHITECTURES[-1])
_MAGIC = 0xBA55ED50
_PTX, _CUBIN = 1, 2
#: Flag of an entry that drivers before 550 cannot decompress.
_ZSTANDARD = 0x8000


def sources() -> dict[str, str]:
    """Path in the repository -> SHA-256 of each source file."""
    files = [ROOT / "plugins/cuda/kernels.cu", *sorted((ROOT / "plugins/kernels").glob("*.cuh"))]
    return {file.relative_to(ROOT).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def code_in(fatbin: bytes) -> dict[str, list[int]]:
    """The compute capabilities that ``fatbin`` has machine code (``"cubin"``) and PTX (``"ptx"``) for.

    Raises:
        ValueError: ``fatbin`` is not a fatbin.
    """
    magic, _, header, size = struct.unpack_from("<IHHQ", fatbin)
    if magic != _MAGIC or header + size != len(fatbin):
        raise ValueError("not a fatbin, or one that is cut off")
    found: dict[str, list[int]] = {"cubin": [], "ptx": []}
    place = header
    while place < len(fatbin):
        kind, _, entry_header, entry_size = struct.unpack_from("<HHIQ", fatbin, place)
        (architecture,) = struct.unpack_from("<I", fatbin, place + 28)
        found[{_PTX: "ptx", _CUBIN: "cubin"}[kind]].append(architecture)
        place += entry_header + entry_size
    return found


def drivers_before_550_refuse(fatbin: bytes) -> bool:
    """Whether an entry is compressed with Zstandard, which drivers before 550 do not support."""
    (_, _, header, _) = struct.unpack_from("<IHHQ", fatbin)
    place = header
    while place < len(fatbin):
        _, _, entry_header, entry_size = struct.unpack_from("<HHIQ", fatbin, place)
        (flags,) = struct.unpack_from("<Q", fatbin, place + 40)
        if flags & _ZSTANDARD:
            return True
        place += entry_header + entry_size
    return False


def disagreements() -> list[str]:
    """Each disagreement as one line; empty if the fatbin was built from the current sources."""
    if not (FATBIN.is_file() and MANIFEST.is_file()):
        return [f"{FATBIN.name} or {MANIFEST.name} is missing; make kernels"]
    manifest, fatbin = json.loads(MANIFEST.read_text()), FATBIN.read_bytes()
    now: dict[str, str] = sources()
    changed = sorted(name for name in {*now, *manifest["sources"]} if now.get(name) != manifest["sources"].get(name))
    lines = [f"{name} has changed since the fatbin was built; make kernels" for name in changed]
    if hashlib.sha256(fatbin).hexdigest() != manifest["fatbin_sha256"]:
        lines.append(f"{FATBIN.name} is not the one that {MANIFEST.name} was written for; make kernels")
    wanted = {"cubin": list(ARCHITECTURES), "ptx": list(PTX)}
    if code_in(fatbin) != wanted:
        lines.append(f"{FATBIN.name} has code for {code_in(fatbin)}, not for {wanted}; make kernels")
    return lines


def write_manifest(*, compiler: str, code: Mapping[tuple[str, int], bytes]) -> None:
    """Describe the current fatbin: its compiler, and the SHA-256 of each architecture's code."""
    described: dict[str, object] = {
        "fatbin_sha256": hashlib.sha256(FATBIN.read_bytes()).hexdigest(),
        "compiler": compiler,
        "code": {
            f"{kind}{architecture}": hashlib.sha256(made).hexdigest() for (kind, architecture), made in code.items()
        },
        "sources": sources(),
    }
    MANIFEST.write_text(json.dumps(described, indent=2) + "\n")


def main() -> int:
    lines = disagreements()
    for line in lines:
        sys.stderr.write(line + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
