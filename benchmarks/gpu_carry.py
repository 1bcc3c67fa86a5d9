"""Export files for ``benchmarks/gpu_check.sh`` on a machine without the trainer's packages: ``gpu_carry.py DIR``.

AnimeGANv2's generator has random weights, which suffice to measure speed and compare with the CPU. The shipped styles
are part of the checkout. At the end it prints the total size.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from animevid_trainer.export import make_card, to_onnx
from animevid_trainer.generators import make_generator

#: What is carried to the machine for which this was made.
_LIMIT_MIB = 64


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    generator = make_generator("animegan2").eval()
    (folder / "AnimeGANv2.onnx").write_bytes(to_onnx(generator, card=make_card(generator, name="AnimeGANv2")))
    mib = (_checkout_bytes() + sum(path.stat().st_size for path in folder.iterdir())) / (1 << 20)
    sys.stdout.write(f"checkout and {folder}: {mib:.1f} MiB\n")
    if mib > _LIMIT_MIB:
        sys.exit(
            f"more than {_LIMIT_MIB} MiB: delete old wheels in {folder}, and the styles' larger variants for the trip "
            "(rm engine/animevid/styles/*-high* trainer/styles/*-high*; git checkout brings them back)"
        )


def _checkout_bytes() -> int:
    root = Path(__file__).resolve().parents[1]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sum((root / name).stat().st_size for name in listed.split("\0") if name and (root / name).is_file())


if __name__ == "__main__":
    main()
