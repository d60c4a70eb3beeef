"""Set up the fork server: the first module that it preloads. Importing this module changes the process."""

import signal

from dit_core.system import processes

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides what ends
processes.end_first(f"{processes.NAME}-server")
