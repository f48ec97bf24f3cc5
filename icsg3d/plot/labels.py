"""Names beside points, none over another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.transforms import BboxBase

_PLACES: tuple[tuple[float, float, str, str], ...] = (
    *((0, 6, "center", "bottom"), (6, 0, "left", "center"), (-6, 0, "right", "center"), (0, -6, "center", "top")),
    *((5, 4, "left", "bottom"), (-5, 4, "right", "bottom"), (5, -4, "left", "top"), (-5, -4, "right", "top")),
    *((0, 14, "center", "bottom"), (0, -14, "center", "top"), (12, 9, "left", "bottom"), (-12, 9, "right", "bottom")),
)
"""Where a name may stand: offset from its point in typographic points, and its alignment; the best come first."""

_POINT = 3.0
"""Half the width of a point in typographic points."""


def label_points(
    axes: Axes,
    names: Sequence[str],
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    *,
    fontsize: float = 7,
) -> int:
    """Write names beside points so that they cover neither each other nor points; where there is no room, none.

    Call it last: limits and the size of the figure must not change afterwards.

    Args:
        axes: In which the points are.
        names: One for each point; those of earlier points have the first choice.
        x: Of the points, shape (n,).
        y: Of the points, shape (n,).
        fontsize: Of the names, in points.

    Returns:
        How many names found room.
    """
    figure = axes.figure.figure  # the whole one, of an axes in a part of it
    figure.draw_without_rendering()  # lays the axes out, so that pixels are known
    scale = figure.dpi / 72
    points = axes.transData.transform(np.column_stack([x, y]).astype(float))
    taken: list[BboxBase] = []
    for number, (name, point) in enumerate(zip(names, points, strict=True)):
        others = np.delete(points, number, axis=0)
        for dx, dy, ha, va in _PLACES:
            style: dict[str, Any] = {"ha": ha, "va": va, "fontsize": fontsize, "parse_math": False}
            text = axes.annotate(name, (x[number], y[number]), (dx, dy), textcoords="offset points", **style)
            box = text.get_window_extent()
            if np.isfinite(point).all() and _is_free(box, axes.bbox, taken, others, _POINT * scale):
                taken.append(box)
                break
            text.remove()
    return len(taken)


def _is_free(box: BboxBase, within: BboxBase, taken: Sequence[BboxBase], points: np.ndarray, reach: float) -> bool:
    inside = within.x0 <= box.x0 and box.x1 <= within.x1 and within.y0 <= box.y0 and box.y1 <= within.y1
    if not inside or any(box.overlaps(other) for other in taken):
        return False
    near = (points[:, 0] > box.x0 - reach) & (points[:, 0] < box.x1 + reach)
    near &= (points[:, 1] > box.y0 - reach) & (points[:, 1] < box.y1 + reach)
    return not bool(near.any())
