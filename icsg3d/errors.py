"""The one exception that icsg3d raises about its input."""

from __future__ import annotations


class InputError(ValueError):
    """Something the caller gave cannot be used; the message names it and the way out."""
