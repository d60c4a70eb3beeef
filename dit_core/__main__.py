"""The command line: `python -m dit_core COMMAND`, or `dit-core COMMAND` once it is installed."""

import sys


def main() -> int:
    """Run a command. An interrupt is one line even while the program is being imported."""
    try:
        from dit_core.cli.commands import main as run
    except KeyboardInterrupt:
        print("dit_core: interrupted", file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
