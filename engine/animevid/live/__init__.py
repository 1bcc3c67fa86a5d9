"""Live stylization: cameras, a loop in which the newest frame wins, a window, a virtual camera and a browser page."""
