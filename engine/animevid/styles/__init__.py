"""Styles: the card that describes a network, and the lookup of networks."""

from __future__ import annotations

from animevid.card_hints import CardHints
from animevid.styles.card import ColourOrder, Layout, StyleCard, read_card, write_card
from animevid.styles.folders import user_styles_folder
from animevid.styles.inspect import infer_card
from animevid.styles.registry import DEFAULT_STYLE, Style, list_styles, load_style, open_style

__all__ = [
    "DEFAULT_STYLE",
    "CardHints",
    "ColourOrder",
    "Layout",
    "Style",
    "StyleCard",
    "infer_card",
    "list_styles",
    "load_style",
    "open_style",
    "read_card",
    "user_styles_folder",
    "write_card",
]
