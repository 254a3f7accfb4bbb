"""LeNet-5, ablated: from 1998 to today, with error bars."""

import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = (HERE, HERE.parent / "scripts")

# Ctrl-C in the seconds that torch takes to import: no traceback, and the exit code of
# lenet/terminal.py, which then takes over. Not where something else imports lenet.
if sys.argv[0] == "-m" or Path(sys.argv[0]).resolve().parent in COMMANDS:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
