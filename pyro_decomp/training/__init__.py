"""An experiment, its file, the training loop, and the run that comes out, with its folder.

Never here: what is measured of a run afterwards, or how its pictures look.
"""
