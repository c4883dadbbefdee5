"""Pyro programs: what is read from any model and guide, and VAE; never an objective or a run."""
