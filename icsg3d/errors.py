"""Errors that the package raises for its users."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message is one sentence that names the input and the way out.

    What a file says of itself, such as the name of a column, may stand in the message: line breaks become spaces, and
    codes that a terminal would obey are left out.

    Args:
        message: The sentence.
    """

    def __init__(self, message: str = "") -> None:
        words = "".join(letter if letter.isprintable() else " " for letter in str(message)).split()
        super().__init__(" ".join(words))


class Interrupted(KeyboardInterrupt):
    """A run that was told to stop; the message says what is kept and how to resume."""
