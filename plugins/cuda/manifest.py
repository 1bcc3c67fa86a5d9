"""Which sources the shipped fatbin was made of: ``python plugins/cuda/manifest.py`` writes it down beside the fatbin.

``make kernels`` calls it; ``--check`` only says whether fatbin, manifest and sources agree (no nvcc needed). nvcc makes
the same bytes of the same sources, wherever they lie: where it is installed, a test rebuilds the fatbin and compares.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FATBIN = ROOT / "engine" / "animevid" / "gpu" / "animevid_kernels.fatbin"
MANIFEST = FATBIN.with_suffix(".json")
#: Compute capabilities with code of their own.
ARCHITECTURES = (75, 80, 86, 89, 90, 120)
#: And with PTX: the oldest's serves what has no code of its own (SM100, say), the newest's what comes after it.
PTX = (ARCHITECTURES[0], ARCHITECTURES[-1])
_MAGIC = 0xBA55ED50
_PTX, _CUBIN = 1, 2


def sources() -> dict[str, str]:
    """Name in the repository -> SHA-256 of each file that nvcc compiles."""
    files = [ROOT / "plugins/cuda/kernels.cu", *sorted((ROOT / "plugins/kernels").glob("*.cuh"))]
    return {file.relative_to(ROOT).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def code_in(fatbin: bytes) -> dict[str, list[int]]:
    """The compute capabilities that ``fatbin`` has machine code (``"cubin"``) and PTX (``"ptx"``) for.

    Raises:
        ValueError: not a fatbin.
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


def disagreements() -> list[str]:
    """What does not fit together, one line each; empty: the fatbin is made of the sources as they are."""
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


def describe() -> dict[str, Any]:
    """What the manifest of the fatbin that lies there now should say."""
    return {
        "fatbin_sha256": hashlib.sha256(FATBIN.read_bytes()).hexdigest(),
        "nvcc": nvcc_version(),
        "code": code_in(FATBIN.read_bytes()),
        "sources": sources(),
    }


def nvcc_version() -> str | None:
    """``"13.0.88"``; ``None`` where there is no nvcc."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        return None
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"V(\d+\.\d+\.\d+)", said)
    return found[1] if found else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where they disagree")
    if not parser.parse_args().check:
        MANIFEST.write_text(json.dumps(describe(), indent=2) + "\n")
    lines = disagreements()
    for line in lines:
        sys.stderr.write(line + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
