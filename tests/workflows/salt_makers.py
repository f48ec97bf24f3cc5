"""Makers that draw and judge salts, in a module of their own so that jobs in other processes find them."""

from __future__ import annotations

from dataclasses import dataclass

from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from tests.screening.salts import Salts, judge


@dataclass
class SaltMaker(GenerateMaker):
    """Draws salts; a shard that ends before the number of ``fails`` does not."""

    fails: int = -1

    def source(self, _structure, limit, _constraints=None):
        if limit == self.fails:
            msg = "this machine is no good"
            raise RuntimeError(msg)
        return Salts(limit)


@dataclass
class SaltScreenMaker(ScreenMaker):
    """Judges them."""

    def judge(self, base=None, _told=()):
        return judge(base=base)
