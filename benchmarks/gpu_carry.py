"""Export what ``benchmarks/gpu_check.sh`` cannot make where the trainer's packages are missing: ``gpu_carry.py DIR``.

AnimeGANv2's generator with random weights: for speed and for comparison with the CPU, not for looks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from animevid_trainer.export import make_card, to_onnx
from animevid_trainer.generators import make_generator


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    generator = make_generator("animegan2").eval()
    (folder / "AnimeGANv2.onnx").write_bytes(to_onnx(generator, card=make_card(generator, name="AnimeGANv2")))


if __name__ == "__main__":
    main()
