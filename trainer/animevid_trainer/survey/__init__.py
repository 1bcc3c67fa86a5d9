"""A survey of viewers: which of two images would one rather keep? A page that asks, votes that stay, a ranking."""
