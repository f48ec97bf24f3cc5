"""Segmentation U-Net: from a density grid to the species and the presence of an atom at each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from icsg3d.crystals.elements import N_CLASSES
from icsg3d.models.blocks import ConvBlock, convolution

Widths = tuple[int, int]


@dataclass(frozen=True)
class SegmentationUNetConfig:
    """Size of a :class:`SegmentationUNet`.

    Attributes:
        channels: Channels of the input grid.
        periodic: Whether convolutions wrap around.
        down: Filters of the two convolutions of each level on the way down.
        bottom: Filters of the two convolutions at the bottom.
        up: Filters of the two convolutions of each level on the way up.
        classes: Species classes with the background as class 0.
    """

    channels: int
    periodic: bool = True
    down: tuple[Widths, ...] = ((16, 16), (32, 32))
    bottom: Widths = (64, 64)
    up: tuple[Widths, ...] = ((32, 32), (32, 32))
    classes: int = N_CLASSES

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "channels": (1, 256),
        "down": (1, 16_384),
        "bottom": (1, 16_384),
        "up": (1, 16_384),
        "classes": (1, 1000),
    }

    @classmethod
    def paper(cls) -> SegmentationUNetConfig:
        """Return the size of Court et al. 2020: density and three coordinate channels, 31,163,008 values."""
        return cls(
            channels=4,
            periodic=False,
            down=((32, 64), (64, 128), (128, 256)),
            bottom=(512, 512),
            up=((512, 256), (256, 128), (128, 128)),
        )


class Segmentation(NamedTuple):
    """Output of a :class:`SegmentationUNet`.

    Attributes:
        species: Logits of the species classes, shape (B, classes, G, G, G).
        atom: Logit of an atom being there, shape (B, G, G, G).
    """

    species: torch.Tensor
    atom: torch.Tensor


class SegmentationUNet(nn.Module):
    """Levels of two convolutions down, a bottom, and up again with skips; a softmax and a sigmoid head.

    Source: Court et al. 2020, section 2.3 and Figure 3. Convolution, ReLU, batch norm in this order.
    """

    def __init__(self, config: SegmentationUNetConfig) -> None:
        super().__init__()
        self.config = config

        def pair(inputs: int, widths: Widths) -> nn.Sequential:
            first, second = widths
            return nn.Sequential(
                ConvBlock(inputs, first, periodic=config.periodic, activation_first=True),
                ConvBlock(first, second, periodic=config.periodic, activation_first=True),
            )

        inputs = (config.channels, *(second for _, second in config.down))
        self.down = nn.ModuleList(pair(i, widths) for i, widths in zip(inputs, config.down, strict=False))
        self.bottom = pair(inputs[-1], config.bottom)
        below = (config.bottom[1], *(second for _, second in config.up))
        skips = tuple(second for _, second in reversed(config.down))
        self.up = nn.ModuleList(
            pair(i + skip, widths) for i, skip, widths in zip(below, skips, config.up, strict=False)
        )
        self.species_head = convolution(below[-1], config.classes, periodic=False, kernel=1)
        self.atom_head = convolution(below[-1], 1, periodic=False, kernel=1)

    def _descend(self, grid: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        skips = []
        for level in self.down:
            grid = level(grid)
            skips.append(grid)
            grid = nn.functional.max_pool3d(grid, 2)
        return self.bottom(grid), skips

    def forward(self, grid: torch.Tensor) -> Segmentation:
        """Segment grids.

        Args:
            grid: Shape (B, channels, G, G, G), G divisible by 2 to the number of levels.
        """
        below, skips = self._descend(grid)
        for level, skip in zip(self.up, reversed(skips), strict=True):
            raised = nn.functional.interpolate(below, scale_factor=2.0)
            below = level(torch.cat([skip, raised], dim=1))
        return Segmentation(self.species_head(below), self.atom_head(below)[:, 0])

    def features(self, grid: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of the way down and of the bottom, for a deep-feature-consistent loss."""
        bottom, skips = self._descend(grid)
        return [*skips, bottom]
