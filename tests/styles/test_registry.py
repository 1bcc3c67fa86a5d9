"""Styles by name and by file, and the message if there is none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from animevid.errors import StyleError, UsageError
from animevid.render.stylizer import Stylizer
from animevid.styles import DEFAULT_STYLE, CardHints, ColourOrder, Style, StyleCard, list_styles, load_style, write_card
from animevid.styles import registry as registry_module
from small_networks import rgb_network

CARD = StyleCard(name="ink", size_multiple=2, licence="CC-BY-4.0")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder with shipped styles: the default, ink in two qualities, and a quantized file."""
    folder = tmp_path / "package"
    folder.mkdir()
    for stem, card in (
        (DEFAULT_STYLE, replace(CARD, name=DEFAULT_STYLE)),
        ("ink", CARD),
        ("ink-high", replace(CARD, quality="high")),
        ("ink-int8", replace(CARD, precision="int8")),
    ):
        (folder / f"{stem}.onnx").write_bytes(write_card(rgb_network(), card))
    monkeypatch.setattr(registry_module, "_SHIPPED", folder)
    return folder


def test_nothing_named_is_the_default_style(shipped):
    assert load_style().card.name == load_style(None).card.name == DEFAULT_STYLE


@pytest.mark.parametrize(
    ("choice", "stem"),
    [
        ({}, "ink"),
        ({"quality": "high"}, "ink-high"),
        ({"precision": "int8"}, "ink-int8"),
        ({"precision": "fp32"}, "ink"),
        ({"quality": "high", "precision": "int8"}, "ink-int8"),  # the same network, seen at more pixels
    ],
    ids=str,
)
def test_quality_and_precision_choose_among_the_files_of_a_name(shipped, choice, stem):
    style = load_style("ink", **choice)
    assert style.path == shipped / f"{stem}.onnx"
    assert style.model == style.path.read_bytes()


def test_a_variant_that_there_is_not_names_those_that_there_are(shipped):
    with pytest.raises(StyleError, match=f"there is {DEFAULT_STYLE}$"):
        load_style(DEFAULT_STYLE, precision="int8")


def test_the_list_has_the_default_first_and_every_quality_once(shipped):
    listed = [(style.card.name, style.card.quality) for style in list_styles()]
    assert listed == [(DEFAULT_STYLE, "fast"), ("ink", "fast"), ("ink", "high")]


def test_the_users_own_file_hides_a_shipped_one_of_the_same_name(shipped, user_styles):
    (user_styles / "ink.onnx").write_bytes(write_card(rgb_network(seed=5), replace(CARD, title="mine")))
    assert load_style("ink").card.title == "mine"
    assert [style.card.title for style in list_styles() if style.card.name == "ink"] == ["mine", ""]


def test_a_file_of_the_users_without_a_card_is_listed_unrun_and_inspected_when_loaded(shipped, user_styles):
    (user_styles / "found.onnx").write_bytes(rgb_network(nhwc=True))
    assert "found" in [style.card.name for style in list_styles()]
    assert load_style("found").card.layout.value == "NHWC"
    (listed,) = (style for style in list_styles() if style.card.name == "found")
    assert not listed.has_card
    assert listed.with_card().card == load_style("found").card
    with Stylizer(listed, threads=1) as stylizer:  # as the page of `animevid serve` opens it
        assert stylizer.card.layout.value == "NHWC"


def test_a_file_that_is_no_model_is_left_out_of_the_list_with_a_warning(shipped, user_styles, caplog):
    (user_styles / "notes.onnx").write_text("not a model")
    assert "notes" not in [style.card.name for style in list_styles()]
    assert "notes.onnx" in caplog.text


@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_a_path_is_a_file_wherever_it_lies(tmp_path, as_text):
    path = tmp_path / "own.onnx"
    path.write_bytes(write_card(rgb_network(), CARD))
    style = load_style(str(path) if as_text else path)
    assert (style.card, style.path) == (CARD, path)


def test_hints_are_for_files_without_a_card(tmp_path):
    path = tmp_path / "own.onnx"
    path.write_bytes(rgb_network())
    hints = CardHints(colour_order=ColourOrder.BGR)
    assert load_style(path, hints=hints).card.colour_order is ColourOrder.BGR
    path.write_bytes(write_card(rgb_network(), CARD))
    assert load_style(path, hints=CardHints()).card == CARD
    with pytest.raises(UsageError, match="colour_order"):
        load_style(path, hints=hints)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("inc", "did you mean 'ink'?"),
        ("watercolour", f"There are: {DEFAULT_STYLE}, ink"),
        ("", "There are"),
        ("missing.onnx", "does not exist"),
        ("no/such/folder/x", "does not exist"),
    ],
)
def test_a_style_that_there_is_not_is_one_clear_line(shipped, spec, said):
    with pytest.raises(StyleError) as caught:
        load_style(spec)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_style(tmp_path):
    with pytest.raises(StyleError, match="cannot be read"):
        load_style(tmp_path)


@pytest.mark.parametrize(
    ("spec", "choice"),
    [("ink", {"quality": "best"}), ("ink", {"precision": "int4"}), ("ink", {"sha256": "0" * 64})],
    ids=str,
)
def test_choices_that_there_are_not_are_refused(shipped, spec, choice):
    with pytest.raises(UsageError):
        load_style(spec, **choice)


def test_a_style_found_by_the_list_reads_its_file_only_when_asked(shipped):
    style = next(style for style in list_styles() if style.card.name == "ink")
    assert "model" not in style.__dict__
    style.path.unlink()
    with pytest.raises(StyleError, match="does not exist"):
        _ = style.model


def test_a_style_cannot_be_changed(shipped):
    style = load_style("ink")
    with pytest.raises(AttributeError):
        style.card = CARD
    assert isinstance(style, Style)


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG convention applies to Linux")
def test_the_users_folder_follows_xdg(monkeypatch, tmp_path):
    import importlib

    from animevid.styles import folders

    monkeypatch.undo()
    real = importlib.reload(folders)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert real.user_styles_folder() == tmp_path / "animevid" / "styles"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert real.user_styles_folder() == Path.home() / ".local" / "share" / "animevid" / "styles"
