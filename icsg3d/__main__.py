"""``python -m icsg3d``."""

from __future__ import annotations

from icsg3d.cli import main

if __name__ == "__main__":
    main()
