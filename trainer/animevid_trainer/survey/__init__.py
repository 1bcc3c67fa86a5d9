"""A survey of viewers: which of two pictures would one rather keep? A page that asks, votes that stay, a ranking."""
