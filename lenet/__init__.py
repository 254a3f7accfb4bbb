"""LeNet-5, ablated: from 1998 to today, with error bars.

    lenet.run("preset=paper", "activation=relu", seed=3)   trains, or finds the record
    lenet.load("modern")                                   a trained network
    lenet.study("leave_one_out").effects                   a study's effects
    lenet.effects(table, response="accuracy", ...)         those of anybody's runs

Nothing is imported before it is used: `import lenet` waits for no torch, and
`lenet.effects` for pandas, numpy and scipy alone.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenet.api import run as run
    from lenet.api import runs as runs
    from lenet.interpret.trained_network import load as load
    from lenet.studies.own_study import effects as effects
    from lenet.studies.study import open_study as study

HERE = Path(__file__).resolve().parent
COMMANDS = (HERE, HERE.parent / "scripts")
# What is public, and where it is.
FACE = {
    "run": ("api", "run"),
    "runs": ("api", "runs"),
    "load": ("interpret.trained_network", "load"),
    "study": ("studies.study", "open_study"),
    "effects": ("studies.own_study", "effects"),
}
__all__ = ["effects", "load", "run", "runs", "study"]

PROGRAM = Path(sys.argv[0])
IS_COMMAND = (
    sys.argv[0] == "-m"
    or PROGRAM.name == "lenet"
    or PROGRAM.resolve().parent in COMMANDS
)

if importlib.util.find_spec("fcntl") is None:  # what keeps two processes off one run
    SAID = "lenet needs the file locks of Linux or macOS; on Windows, run it in WSL"
    if IS_COMMAND:
        print(SAID, file=sys.stderr)
        sys.exit(3)
    raise ImportError(SAID)

if IS_COMMAND and sys.flags.optimize > 1:  # --help is what the docstrings say
    print(
        "lenet's help is in its docstrings, which python -OO leaves out: unset "
        "PYTHONOPTIMIZE",
        file=sys.stderr,
    )
    sys.exit(3)

# Ctrl-C in the seconds that torch takes to import: no traceback, and the exit code of
# lenet/terminal.py, which then takes over. Not where something else imports lenet.
if IS_COMMAND:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in FACE:
        raise AttributeError(f"module 'lenet' has no attribute {name!r}")
    module, public = FACE[name]
    return getattr(importlib.import_module(f"lenet.{module}"), public)


def __dir__() -> list[str]:
    """The public names, for those who look with Tab."""
    return sorted({*globals(), *__all__})
