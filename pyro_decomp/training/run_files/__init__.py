"""The files of a run: written whole, by one process, under digests; told without executing any."""
