"""Exports our generators to ONNX, each once per session, since an export takes ten seconds or more."""

from __future__ import annotations

from functools import cache
from typing import Any

from animevid.styles.card import StyleCard


@cache
def exported(name: str) -> tuple[Any, StyleCard, bytes]:
    """The generator called ``name`` with random weights (seed 0, in evaluation), its card and its ONNX file.

    The result is shared: a test that changes the generator must create its own.
    """
    import torch
    from animevid_trainer.export import make_card, to_onnx
    from animevid_trainer.generators import make_generator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = make_generator(name).eval()
        for parameter in generator.parameters():
            if parameter.dim() == 4 and not parameter.any():
                # A zero-initialized layer, such as nano's last one, would hide the output of all layers before it.
                torch.nn.init.normal_(parameter, std=0.1)
    card = make_card(generator, name=name)
    return generator, card, to_onnx(generator, card=card)
