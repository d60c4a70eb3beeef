"""The command line: `python -m dit_core COMMAND`."""

import sys

from dit_core.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
