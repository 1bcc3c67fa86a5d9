"""Where frames go: files, folders, windows, cameras, servers."""
