"""``animevid doctor --gpu``: compares the GPU's frames with the CPU's, and measures the speed.

One module per section. A section is a generator of findings; each runs in a separate process (``runner``), and findings
are written at once. Every section compares frames or tensors with the CPU's; none only measures time.
"""
