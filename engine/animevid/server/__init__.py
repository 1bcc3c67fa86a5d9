"""``animevid serve``: the page, WebRTC, MJPEG, and file conversion over HTTP."""
