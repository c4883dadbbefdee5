"""The files of a run: written whole, by one process, under digests; described without executing anything."""
