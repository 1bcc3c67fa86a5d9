"""Trains the shipped styles: teachers paint pairs once (``pairs``), then a student learns a look (``run``).

``losses`` has the loss terms, ``damage`` simulates camera and compression artefacts. The student is ``luma-unet``.
"""
