"""Sources: containers, images, cameras, and streams that reconnect."""
