"""The backend ``tensorrt``: the library, engines, the engines on disk, and what runs them."""
