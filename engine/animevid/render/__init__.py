"""A style that is ready to run: frames in, stylized frames out."""
