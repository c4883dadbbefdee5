"""One training step made fast: traced once, written as C, verified against its programs.

Internal. Never here: what is trained or for how long, and what a number means.
"""
