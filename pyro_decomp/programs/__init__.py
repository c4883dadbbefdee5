"""Pyro programs: a model and guide from parts, and what can be read from any program.

Here are sites, plates, enumeration, dependence, the prior that a model expresses, the state that
programs keep, and checks of these. Never here: an objective, or anything that knows a run.
"""
