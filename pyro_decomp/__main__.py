"""``python -m pyro_decomp`` is ``pyro-decomp``."""

from pyro_decomp.cli import main

if __name__ == "__main__":
    main()
