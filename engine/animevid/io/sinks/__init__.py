"""Sinks: files, folders, windows, virtual cameras, servers."""
