"""What a member failed of, in a sentence."""

from pyro_decomp.errors import DecompError
from pyro_decomp.user_code import one_line, place_raised


def sentence(error: BaseException) -> str:
    """The message of an error that the user can mend; of another, its type and line too."""
    if isinstance(error, DecompError):
        return " ".join(str(error).split())
    place = place_raised(error)
    return f"{one_line(error)} ({place})" if place else one_line(error)
