"""``animevid doctor --gpu``: does the GPU of this machine draw the frames that the CPU draws, and how fast?

One module a section. A section is a generator of findings; each runs in a process of its own (``runner``), and what it
finds is written at once. Every section compares frames or tensors with what the CPU computes: none only times.
"""
