"""Stylize every image of a folder into another folder.  python examples/images.py PHOTOS OUT"""

import sys

import animevid

report = animevid.stylize(sys.argv[1], sys.argv[2], quality="fast", overwrite=True)
print(f"{report.frames_out} images in {report.output}")
