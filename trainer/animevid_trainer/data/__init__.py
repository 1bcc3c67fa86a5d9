"""Images for training: folders, crops, S(e), samplers, batches."""
