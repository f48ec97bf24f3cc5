"""Speed of the package against plain renderings of the published formulas: ``python -m benchmarks.run``."""
