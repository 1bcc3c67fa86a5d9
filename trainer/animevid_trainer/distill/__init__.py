"""How the shipped styles are made: teachers paint pairs once (``pairs``), a student learns a look (``run``).

``losses`` has the terms, ``damage`` what cameras do to a photo and a teacher never sees. The student is ``luma-unet``.
"""
