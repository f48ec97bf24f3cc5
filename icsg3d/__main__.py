"""The program ``icsg3d``, also as ``python -m icsg3d``."""

from __future__ import annotations

import sys

from icsg3d.stopping import exit_code, stopping


def main() -> None:
    """Run the command line; a signal ends it with one sentence, also while it is still being imported."""
    try:
        with stopping():
            from icsg3d import cli

            cli.main()
    except KeyboardInterrupt as stop:
        sys.stderr.write("Error: interrupted\n")
        sys.exit(exit_code(stop))


if __name__ == "__main__":
    main()
