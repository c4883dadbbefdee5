"""One training step made fast and verified, internal; never what is trained, or for how long."""
