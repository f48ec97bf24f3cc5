"""What is taken where nothing is named."""

from __future__ import annotations

GENERATOR = "materials"
"""Generator of commands, Transformations, Featurizers and Makers."""
