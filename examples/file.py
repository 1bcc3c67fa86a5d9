"""Stylize a video file; sound, subtitles and metadata are kept.  python examples/file.py IN.mp4 OUT.mp4"""

import sys

import animevid

report = animevid.stylize(sys.argv[1], sys.argv[2], overwrite=True)
print(f"{report.frames_out} frames at {report.fps:.1f} fps, {report.frames_reused} of them reused")
