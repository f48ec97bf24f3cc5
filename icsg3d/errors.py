"""Errors that the package raises for its users."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message is one sentence that names the input and the way out."""


class Interrupted(KeyboardInterrupt):
    """A run that was told to stop; the message says what is kept and how to resume."""
