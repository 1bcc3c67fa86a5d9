"""Checkpoints are complete, are written atomically, and belong to one run."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.checkpoint import (
    best_checkpoint,
    changed_settings,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    note_score,
    prune_checkpoints,
    save_checkpoint,
)
from hypothesis import given
from hypothesis import strategies as st

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="$/")), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(tree=_TREES)
def test_a_state_tree_comes_back_as_it_was(tree: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tree")
    assert load_checkpoint(save_checkpoint(folder, 1, tree)) == (1, tree)


def test_tensors_come_back_bit_equal_in_their_type_and_layout(tmp_path: Path) -> None:
    state = {
        "bf16": torch.randn(3).to(torch.bfloat16),
        "integers": torch.tensor([1, -(2**40)]),
        "layout": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "numpy": np.array([0, 2**32 - 1], np.uint32),
        "scalar": torch.tensor(3.0),
    }
    _, back = load_checkpoint(save_checkpoint(tmp_path, 5, state))
    for name in ("bf16", "integers", "layout", "scalar"):
        assert back[name].dtype == state[name].dtype
        assert torch.equal(back[name], state[name])
    assert back["layout"].stride() == state["layout"].stride()
    assert back["numpy"].dtype == np.uint32
    assert (back["numpy"] == state["numpy"]).all()


def test_an_optimizer_goes_on_exactly_after_a_round_trip(tmp_path: Path) -> None:
    def optimizer_of(weight: torch.Tensor) -> torch.optim.Adam:
        return torch.optim.Adam([weight], lr=0.1)

    def step(optimizer: torch.optim.Adam, weight: torch.Tensor) -> None:
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()

    first = torch.ones(4, requires_grad=True)
    optimizer = optimizer_of(first)
    step(optimizer, first)
    path = save_checkpoint(tmp_path, 1, {"weight": first, "optimizer": optimizer.state_dict()})
    step(optimizer, first)

    _, state = load_checkpoint(path)
    second = state["weight"].requires_grad_()
    other = optimizer_of(second)
    other.load_state_dict(state["optimizer"])
    step(other, second)
    assert torch.equal(first, second)


def test_a_full_disk_leaves_the_last_checkpoint_and_says_so_in_one_line(tmp_path: Path) -> None:
    kept = save_checkpoint(tmp_path, 10, {"weight": torch.zeros(8)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Like a full disk, but without special rights: the system limits the file's size.
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        with pytest.raises(
            TrainingError, match=r"step 20 cannot be written .* step 10 is kept: free some space"
        ) as caught:
            save_checkpoint(tmp_path, 20, {"weight": torch.zeros(1 << 16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert list_checkpoints(tmp_path) == [kept]
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    assert torch.equal(load_checkpoint(kept)[1]["weight"], torch.zeros(8))


def test_what_a_killed_run_left_half_written_is_never_taken_for_a_checkpoint(tmp_path: Path) -> None:
    kept = save_checkpoint(tmp_path, 3, {})
    half = tmp_path / ".unfinished-00000006-123"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) == kept
    prune_checkpoints(tmp_path, keep_last=2)
    assert not half.exists()


@pytest.mark.parametrize("damage", ["cut", "not json", "newer", "gone"])
def test_a_damaged_checkpoint_is_refused_in_one_line_with_a_way_out(tmp_path: Path, damage: str) -> None:
    path = save_checkpoint(tmp_path, 3, {"weight": torch.ones(100)})
    tensors, state = path / "tensors.safetensors", path / "state.json"
    if damage == "cut":
        tensors.write_bytes(tensors.read_bytes()[:50])
    elif damage == "gone":
        tensors.unlink()
    elif damage == "newer":
        state.write_text(json.dumps({**json.loads(state.read_text()), "format": 99}))
    else:
        state.write_text("{")
    with pytest.raises(
        TrainingError, match="upgrade animevid" if damage == "newer" else "resume from the one before"
    ) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, score in ((1, 5.0), (2, 1.0), (3, 4.0), (4, 3.0), (5, 2.0)):
        note_score(tmp_path, save_checkpoint(tmp_path, step, {}), score)
        prune_checkpoints(tmp_path, keep_last=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000004", "step-00000005"]
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert best[0].name == "step-00000002"


def test_changed_settings_are_named_with_both_values() -> None:
    before = {"losses": {"content": 1.5, "style": 3.0}, "sizes": (1, 2)}
    now = {"losses": {"content": 2.0, "style": 3.0}, "sizes": [1, 2], "new": True}
    assert changed_settings(before, now) == ["losses.content: 1.5 -> 2.0", "new: absent -> True"]


def test_a_changed_table_in_a_list_is_named_by_its_name_and_keys_can_be_left_out() -> None:
    before = {"phases": [{"name": "init", "rate": 1.0, "steps": 5}, {"name": "train", "rate": 2.0, "steps": 9}]}
    now = {"phases": [{"name": "init", "rate": 1.0, "steps": 6}, {"name": "train", "rate": 3.0, "steps": 9}]}
    assert changed_settings(before, now) == ["phases.init.steps: 5 -> 6", "phases.train.rate: 2.0 -> 3.0"]
    assert changed_settings(before, now, leaving_out={"steps"}) == ["phases.train.rate: 2.0 -> 3.0"]
