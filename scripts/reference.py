"""The reference of every module, from its docstrings: python scripts/reference.py

folder=build/reference    where the pages are written; index.html is the first

Needs pdoc: pip install -e ".[dev]".
"""

import sys
from pathlib import Path
from pkgutil import iter_modules

import lenet
from lenet.terminal import command, say, typed


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], {"folder": "build/reference"})
    import pdoc  # a dev extra

    for name in lenet.__all__:  # imported when asked for, and pdoc does not ask
        setattr(lenet, name, getattr(lenet, name))
    folder = Path(given["folder"])
    modules = (module.name for module in iter_modules(lenet.__path__, "lenet."))
    pdoc.pdoc("lenet", *modules, output_directory=folder)
    say(str(folder / "index.html"))


if __name__ == "__main__":
    command(main)
