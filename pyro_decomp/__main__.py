"""``python -m pyro_decomp`` is ``pyro-decomp``."""

from pyro_decomp.cli import main

main()
