"""C sources of the package: compiled once, kept in the user's cache, called without the GIL."""
