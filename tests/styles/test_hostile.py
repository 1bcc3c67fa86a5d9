"""Hostile styles: external files, cards out of bounds, values that are not numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from animevid import Stylizer
from animevid.errors import BackendError, StyleError
from animevid.styles import list_styles, load_style

pytestmark = pytest.mark.shared

BAD_CARDS = ("deep", "fixed_inf", "multiple_1e30", "multiple_float", "version_inf")


@pytest.mark.parametrize("name", ["ext_cwd_c", "ext_memaddr_c", "ext_passwd_c"])
def test_a_style_with_a_card_reads_no_other_file_and_no_memory(shared: Path, name: str) -> None:
    with pytest.raises(StyleError, match="second file"):
        load_style(shared / "faults" / "hostile" / f"{name}.onnx")


@pytest.mark.parametrize("name", BAD_CARDS)
def test_a_card_out_of_bounds_is_an_error_of_one_line(shared: Path, name: str) -> None:
    with pytest.raises(StyleError) as caught:
        load_style(shared / "faults" / "hostile" / f"card_{name}.onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_card_cannot_speak_to_the_terminal(shared: Path) -> None:
    card = load_style(shared / "faults" / "hostile" / "card_title_esc.onnx").card
    assert card.title
    assert all(text.isprintable() for text in (card.name, card.title, card.description, card.licence))


def test_bad_files_do_not_break_the_list(shared: Path, user_styles: Path, nchw_style: Path) -> None:
    for name in BAD_CARDS:
        shutil.copy(shared / "faults" / "hostile" / f"card_{name}.onnx", user_styles)
    shutil.copy(nchw_style, user_styles / "good.onnx")
    names = {style.card.name for style in list_styles()}
    assert "good" in names
    assert not names & {f"card_{name}" for name in BAD_CARDS}


def test_values_that_are_no_numbers_are_an_error_and_no_black_image(shared: Path) -> None:
    style = load_style(shared / "faults" / "hostile" / "nan_c.onnx")
    with Stylizer(style) as stylizer, pytest.raises(BackendError, match="NaN"):
        stylizer(np.full((64, 64, 3), 99, np.uint8))
