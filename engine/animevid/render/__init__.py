"""Renderers: frames in, stylized frames out."""
