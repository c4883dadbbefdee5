"""The cases' programs are experiment files: they are run by tests, and never imported."""

collect_ignore_glob = ["programs/*"]
