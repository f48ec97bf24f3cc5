"""Axes that were given, or new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def given_or_new(axes: Axes | None, size: tuple[float, float] = (4.8, 3.6), **subplot: Any) -> Any:
    """Return axes that were given, or those of a new figure of pyplot, so that a notebook shows it.

    Args:
        axes: As the caller passed them.
        size: Of a new figure, in inches.
        **subplot: For ``Figure.add_subplot``, such as ``projection``.
    """
    if axes is not None:
        return axes
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained").add_subplot(**subplot)
