"""A run's log: TensorBoard's files, read with TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from animevid_trainer.progress import Progress, ProgressLine
from small_runs import tiny_trainer

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
)


class _Killed(BaseException):
    """Not an Exception, so that nothing catches it, as with SIGKILL."""


def _kill_at_step_six(line: ProgressLine) -> None:
    if line.step == 6:
        raise _Killed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps with a validation, killed at step 6 and resumed from step 4."""
    folder = tmp_path_factory.mktemp("board")
    for kill in (True, False):
        trainer = tiny_trainer(folder, checkpoint_every=4, validate=lambda _: {"score": 0.5})
        trainer.progress = Progress(_kill_at_step_six if kill else None, tensorboard=True)
        if kill:
            with pytest.raises(_Killed):
                trainer.run()
        else:
            assert trainer.run().finished
    return folder


@pytest.fixture(scope="module")
def board(run: Path) -> object:
    reader = accumulators.EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return reader.Reload()


def test_every_term_rate_and_score_is_a_scalar(board) -> None:
    tags = set(board.Tags()["scalars"])
    assert {"G_init/content", "G/style", "G/colour", "D/real", "D/smooth", "learning_rate/G"} <= tags
    assert {"images_per_second", "validation/score"} <= tags
    assert [event.step for event in board.Scalars("validation/score")] == [4, 8]


def test_steps_that_a_killed_session_made_are_shown_once(board) -> None:
    assert [event.step for event in board.Scalars("G/style")] == [3, 4, 5, 6, 7, 8]


def test_each_sample_grid_is_an_image(board, run: Path) -> None:
    events = board.Images("samples")
    assert [event.step for event in events] == [4, 8]
    shown = cv2.imdecode(np.frombuffer(io.BytesIO(events[-1].encoded_image_string).read(), np.uint8), cv2.IMREAD_COLOR)
    assert (shown == cv2.imread(str(run / "samples/step-00000008.png"))).all()
