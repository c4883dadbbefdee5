"""What looks wrong and is rightly accepted."""

ACCEPTED_COMMAND_LINES: set[str] = set()
ACCEPTED_CALLS: set[str] = set()
