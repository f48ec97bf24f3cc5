"""Measurements of how well crystals are found, rebuilt and generated."""
