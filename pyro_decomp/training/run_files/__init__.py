"""The files of a run: written whole, by one process, under digests; read without executing any."""
