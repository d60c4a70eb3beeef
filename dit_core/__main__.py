"""The command line: `python -m dit_core COMMAND`, or `dit-core COMMAND` once it is installed."""

import sys


def main() -> int:
    """Run a command. An interrupt is one line, also while the program is imported and while it ends."""
    try:
        from dit_core.cli.commands import main as run

        code = run()
    except KeyboardInterrupt:
        print("dit_core: interrupted", file=sys.stderr)
        code = 1
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
