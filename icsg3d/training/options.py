"""How a generator is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from icsg3d.models.losses import LossWeights
from icsg3d.training.augment import Augmentation
from icsg3d.training.data import check_seed

Stage = Literal["unet", "vae", "joint"]


@dataclass(frozen=True)
class TrainingOptions:
    """How a generator is trained.

    Attributes:
        unet_epochs: Epochs of the U-Net on true grids.
        vae_epochs: Epochs of the autoencoder with the U-Net's features as perceptual loss.
        joint_epochs: Epochs of both, end to end.
        batch_size: Crystals of a step (and device).
        learning_rate: Of AdamW, reached after the warm-up.
        warm_up: Share of all steps in which the learning rate rises.
        decay: Share of all steps at the end in which it falls to nothing (a cosine).
        weight_decay: Of AdamW.
        condition_dropout: Share of crystals whose condition is hidden, so that it may be left out later.
        patience: Epochs in which crystals are rebuilt no better before training stops; None for no early stop.
        seed: Of everything random.
        weights: Of the terms of the loss.
        augmentation: Of the training crystals.
        distorted: Distorted supercells that are added to the training crystals, as a share of them.
        variants: Symmetric variants of 6 to 24 atoms that are added to the training crystals, as a share of them.
        balance: Least share of an epoch for the crystals of each number of atoms; rare ones are repeated to reach it.
    """

    unet_epochs: int = 2
    vae_epochs: int = 4
    joint_epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 1e-3
    warm_up: float = 0.02
    decay: float = 0.4
    weight_decay: float = 1e-4
    condition_dropout: float = 0.3
    patience: int | None = None
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)
    distorted: float = 0.0
    variants: float = 0.0
    balance: float = 0.0

    def __post_init__(self) -> None:
        """Check the seed.

        Raises:
            InputError: if it is none.
        """
        check_seed(self.seed)

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return self.unet_epochs + self.vae_epochs + self.joint_epochs

    def stage(self, epoch: int) -> Stage:
        """Return the stage of an epoch, counted from 0."""
        if epoch < self.unet_epochs:
            return "unet"
        return "vae" if epoch < self.unet_epochs + self.vae_epochs else "joint"

    def rate(self, progress: float) -> float:
        """Return the learning rate, as a share of its maximum, after a share of all steps."""
        if progress < self.warm_up:
            return progress / self.warm_up
        left = max(0.0, 1 - progress)
        return 1.0 if left > self.decay else 0.5 - 0.5 * math.cos(math.pi * left / self.decay)
