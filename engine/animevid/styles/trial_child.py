"""The child of :mod:`animevid.styles.trial`: reads a line of JSON and a model from stdin, writes a line of JSON.

The output is ``{"card": TEXT}`` (empty for a file that has a card; the model follows if it was adapted),
``{"error": TEXT}`` for a file that is no stylizer, or ``{"memory": true}`` at the memory limit. If the process ends
otherwise, the file caused it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from animevid.card_hints import CardHints
from animevid.confinement import ResourceLimits, confine, limit_resources, program_folders
from animevid.errors import AnimevidError
from animevid.styles.card import ColourOrder, Layout, StyleCard
from animevid.styles.inspect import look_at
from animevid.styles.onnx_file import may_loop
from animevid.styles.trial import MAX_TIMES, TrialRequest

#: Parts of runtimes' messages when memory runs out.
_NO_MEMORY = ("bad_alloc", "allocate memory", "bad allocation", "std::length_error", "vector::_M_")
_SIDE_PX = 64


def main() -> None:
    """Run the trial."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    request: TrialRequest = json.loads(sys.stdin.buffer.readline())
    limit_resources(
        ResourceLimits(memory_bytes=request["memory_bytes"], cpu_seconds=max(60, round(4 * request["seconds"])))
    )
    confine(writable=[], readable=program_folders())
    try:
        model = sys.stdin.buffer.read()
        try:
            import numpy  # noqa: F401  # their loading time does not count as the file's
            import onnxruntime  # noqa: F401
        except ImportError as error:  # not caused by the file: a library is in a folder that this process may not read
            name, reason = request["name"], " ".join(str(error).split())
            return _say(
                error=f"{name!r} cannot be tried here, ONNX Runtime does not load in a confined process: {reason}"
            )

        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # its signal ends this process
        card, adapted = _try_out(model, request)
        _say(card=card)
        sys.stdout.buffer.write(adapted)
        sys.stdout.buffer.flush()
    except MemoryError:
        _say(memory=True)
    except AnimevidError as error:
        text = str(error)
        _say(memory=True) if any(word in text for word in _NO_MEMORY) else _say(error=text)


def _try_out(model: bytes, request: TrialRequest) -> tuple[str, bytes]:
    raw: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in request["hints"].items()
    }
    for key, kind in (("layout", Layout), ("colour_order", ColourOrder)):
        raw[key] = None if raw[key] is None else kind(raw[key])
    if request["card"] is not None:
        _open_as_in_use(model, StyleCard.from_json(request["card"]), request["seconds"])
        return "", b""
    adapted, card = look_at(model, name=request["name"], hints=CardHints(**raw))
    _open_as_in_use(adapted, card, request["seconds"])
    return card.to_json(), b"" if adapted == model else adapted


def _open_as_in_use(model: bytes, card: StyleCard, seconds: float) -> None:
    """Open it with the settings of ``backends.onnxruntime``, so that nothing new can happen there."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = min(4, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if card.fixed_size_px and not may_loop(model) and hasattr(signal, "setitimer"):
        # Its only size is large: the time limit grows with it.
        share = min(MAX_TIMES, 1 + card.fixed_size_px[0] * card.fixed_size_px[1] / 512**2)
        signal.setitimer(signal.ITIMER_REAL, seconds * share)
    height, width = card.fixed_size_px or card.padded_px(_SIDE_PX, _SIDE_PX)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        first = given.shape[0] if given.shape and isinstance(given.shape[0], int) else 1
        image = np.zeros(card.tensor_shape(max(1, first), height, width), np.float32)
        session.run(None, {given.name: image})
    except Exception as error:
        text = str(error)
        if isinstance(error, MemoryError) or any(word in text for word in _NO_MEMORY):
            raise MemoryError from error
        # Another backend may open it, and reports its own error if not.


def _say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # skip the clean-up of a runtime that the file may have corrupted
