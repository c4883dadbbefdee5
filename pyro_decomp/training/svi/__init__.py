"""Pyro's ``SVI`` with captured steps."""
