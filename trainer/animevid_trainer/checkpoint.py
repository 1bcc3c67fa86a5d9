"""Checkpoints: the complete state of a run, in safetensors and JSON.

A checkpoint is a folder ``step-00001000`` with ``tensors.safetensors`` and ``state.json``; the JSON holds the tree of
the state, in which ``{"$tensor": name}`` stands for a tensor. It is written under a temporary name, flushed and
renamed, so a checkpoint folder is always complete. Nothing is pickled.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from animevid.errors import TrainingError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from animevid_trainer.files import write_file

FORMAT = 1
_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_BEST = "best.json"
_NAME = re.compile(r"^step-(\d{8})$")

#: A tree of dict, list, tuple, str, int, float, bool, None, Tensor and NumPy array; its reader knows its structure.
State = Any


def encode_tree(tree: State, tensors: dict[str, torch.Tensor], path: str = "") -> State:
    """The JSON form of ``tree``; its tensors are put into ``tensors`` under their paths."""
    match tree:
        case torch.Tensor():
            # safetensors stores contiguous memory; the layout is recorded, so that a resumed run uses the same one.
            channels_last = tree.dim() == 4 and not tree.is_contiguous()
            # clone: the format refuses shared memory (tied weights).
            tensors[path] = tree.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"$tensor": path, "channels_last": True} if channels_last else {"$tensor": path}
        case np.ndarray():
            tensors[path] = torch.from_numpy(tree.view(np.int32) if tree.dtype == np.uint32 else tree.copy())
            return {"$array": path, "dtype": tree.dtype.name}
        case Mapping():
            items = {
                str(key): encode_tree(value, tensors, f"{path}/{key}" if path else str(key))
                for key, value in tree.items()
            }
            if all(isinstance(key, str) for key in tree):
                return items
            return {"$integer_keys": items}
        case tuple():
            return {"$tuple": [encode_tree(value, tensors, f"{path}/{index}") for index, value in enumerate(tree)]}
        case list():
            return [encode_tree(value, tensors, f"{path}/{index}") for index, value in enumerate(tree)]
        case None | bool() | int() | float() | str():
            return tree
        case _:
            raise TypeError(f"{path}: a checkpoint cannot hold a {type(tree).__name__}")


def decode_tree(encoded: State, tensors: Mapping[str, torch.Tensor]) -> State:
    """Undo :func:`encode_tree`."""
    match encoded:
        case {"$tensor": path}:
            tensor = tensors[path]
            return tensor.contiguous(memory_format=torch.channels_last) if encoded.get("channels_last") else tensor
        case {"$array": path, "dtype": dtype}:
            array = tensors[path].numpy()
            return array.view(np.uint32) if dtype == "uint32" else array
        case {"$integer_keys": items}:
            return {int(key): decode_tree(value, tensors) for key, value in items.items()}
        case {"$tuple": values}:
            return tuple(decode_tree(value, tensors) for value in values)
        case dict():
            return {key: decode_tree(value, tensors) for key, value in encoded.items()}
        case list():
            return [decode_tree(value, tensors) for value in encoded]
        case _:
            return encoded


def _write_flushed(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def save_checkpoint(folder: Path, step: int, state: State) -> Path:
    """Write ``folder/step-XXXXXXXX`` atomically.

    Raises:
        TrainingError: the disk is full or not writable; existing checkpoints are unchanged.
    """
    final = folder / f"step-{step:08d}"
    unfinished = folder / f".unfinished-{step:08d}-{os.getpid()}"
    tensors: dict[str, torch.Tensor] = {}
    encoded = encode_tree(state, tensors)
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        _write_flushed(unfinished / _TENSORS, save(tensors))
        text = json.dumps({"format": FORMAT, "step": step, "state": encoded}, sort_keys=True)
        _write_flushed(unfinished / _STATE, text.encode())
        if final.exists():
            shutil.rmtree(final)
        os.replace(unfinished, final)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        last = latest_checkpoint(folder)
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise TrainingError(
            f"the checkpoint of step {step} cannot be written to {str(folder)!r} ({reason}); "
            f"{f'step {step_of(last)} is kept' if last else 'there is none yet'}: free some space and resume"
        ) from error
    return final


def load_checkpoint(path: Path) -> tuple[int, State]:
    """(step, state) of one checkpoint folder; tensors on the CPU.

    Raises:
        TrainingError: not a checkpoint, damaged, or from a newer version.
    """
    try:
        raw = json.loads((path / _STATE).read_bytes())
        if int(raw["format"]) > FORMAT:
            raise TrainingError(
                f"{str(path)!r} has format {raw['format']}, newer than this trainer reads ({FORMAT}); upgrade animevid"
            )
        return int(raw["step"]), decode_tree(raw["state"], load_file(path / _TENSORS))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise TrainingError(
            f"{str(path)!r} is not a readable checkpoint ({error}); remove it to resume from the one before"
        ) from error


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], *, where: str) -> None:
    """``network.load_state_dict(weights)`` with a one-line error.

    Raises:
        TrainingError: the weights are of another network, or of another version of it.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        own = network.state_dict()
        odd = [name for name in {**own, **weights} if name not in own or name not in weights]
        odd += [name for name, value in weights.items() if name in own and own[name].shape != value.shape]
        raise TrainingError(
            f"the weights in {where} are of another network than {type(network).__name__} "
            f"({len(odd)} tensors do not fit, first {odd[0]!r}); start a new run, or use the version that made them"
        ) from error


def step_of(path: Path) -> int:
    """The step in a checkpoint folder's name."""
    found = _NAME.match(path.name)
    if found is None:
        raise ValueError(f"{path.name!r} is not step-XXXXXXXX")
    return int(found[1])


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.match(path.name) and (path / _STATE).exists())


def latest_checkpoint(folder: Path) -> Path | None:
    found = list_checkpoints(folder)
    return found[-1] if found else None


def best_checkpoint(folder: Path) -> tuple[Path, float] | None:
    """The checkpoint with the lowest validation score so far, and that score."""
    try:
        raw = json.loads((folder / _BEST).read_bytes())
        path, score = folder / str(raw["checkpoint"]), float(raw["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (path, score) if path.is_dir() else None


def note_score(folder: Path, checkpoint: Path, score: float) -> bool:
    """Record ``checkpoint`` as the best if its score is lower than before; returns whether it is."""
    before = best_checkpoint(folder)
    if before is not None and before[1] <= score:
        return False
    write_file(folder / _BEST, json.dumps({"checkpoint": checkpoint.name, "score": score}))
    return True


def prune_checkpoints(folder: Path, *, keep_last: int) -> list[Path]:
    """Remove all but the newest ``keep_last`` and the best, and unfinished files of killed runs."""
    best = best_checkpoint(folder)
    removed = list_checkpoints(folder)[: -max(1, keep_last)]
    removed = [path for path in removed if best is None or path != best[0]]
    for path in removed + sorted(folder.glob(".unfinished-*")):
        shutil.rmtree(path, ignore_errors=True)
    return removed


def changed_settings(
    before: Mapping[str, object], now: Mapping[str, object], prefix: str = "", *, leaving_out: Collection[str] = ()
) -> list[str]:
    """Return the differences of two configurations: ``["crop_px: 256 -> 128", ...]``.

    Tables in a list are identified by their ``name``: ``phases.train.generator_lr``. Keys in ``leaving_out`` are
    ignored at any depth.
    """
    # Convert through JSON like the older one, since JSON turns tuples into lists.
    before, now = json.loads(json.dumps(before)), json.loads(json.dumps(now))
    changes: list[str] = []
    for key in sorted({*before, *now} - {*leaving_out}):
        old, new = _by_name(before.get(key)), _by_name(now.get(key))
        if isinstance(old, dict) and isinstance(new, dict):
            changes += changed_settings(old, new, f"{prefix}{key}.", leaving_out=leaving_out)
        elif old != new:
            changes.append(f"{prefix}{key}: {_shown(old)} -> {_shown(new)}")
    return changes


def changed_past(before: Sequence[Sequence[Any]], now: Sequence[Sequence[Any]], step: int) -> list[str]:
    """Return phases that a run at ``step`` has completed and that would end at another step in ``now``.

    Both are ``[[name, steps], ...]`` in order. The end of the current phase may change; unknown phases (of older runs)
    are ignored.
    """
    if not before or not now:
        return []
    changes: list[str] = []
    end_before = end_now = 0
    # The last phase may even end before ``step``: then nothing is left to do, and nothing already done changes.
    for (name, old), (_, new) in zip(before, now[:-1], strict=False):
        end_before, end_now = end_before + old, end_now + new
        if end_before != end_now and min(end_before, end_now) < step:
            changes.append(f"phase {name!r}, which is over: {old} steps -> {new}")
            break
    return changes


def _by_name(value: object) -> object:
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: item for item in value}
    return value


def _shown(value: object) -> str:
    return "absent" if value is None else "a table" if isinstance(value, dict) else str(value)
