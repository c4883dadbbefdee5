"""Experiment, experiment file, training loop, run and its folder; never what a run is worth."""
