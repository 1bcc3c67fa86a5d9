"""Judging styles: figures that stand for what a person would see, several models side by side, one HTML page."""
