"""Training images: reading folders, cropping, edge smoothing, sampling and batching."""
