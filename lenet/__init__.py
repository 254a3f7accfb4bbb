"""LeNet-5, ablated: from 1998 to today, with error bars."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = (HERE, HERE.parent / "scripts")

IS_COMMAND = sys.argv[0] == "-m" or Path(sys.argv[0]).resolve().parent in COMMANDS

if importlib.util.find_spec("fcntl") is None:  # what keeps two processes off one run
    SAID = "lenet needs the file locks of Linux or macOS; on Windows, run it in WSL"
    if IS_COMMAND:
        print(SAID, file=sys.stderr)
        sys.exit(3)
    raise ImportError(SAID)

# Ctrl-C in the seconds that torch takes to import: no traceback, and the exit code of
# lenet/terminal.py, which then takes over. Not where something else imports lenet.
if IS_COMMAND:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
