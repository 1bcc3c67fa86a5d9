"""The backend ``tensorrt``: the library, building engines, engines on disk, and running them."""
