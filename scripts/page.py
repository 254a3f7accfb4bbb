"""Make the page on which one draws a digit and watches one or two networks read it.

python scripts/page.py
    the published networks of 1998 and of today, in outputs/page/index.html
python scripts/page.py runs=[3f2a,9c01]
    any one or two runs, by the first letters of their ids or by their folders
output_dir=outputs data_dir=<folder> file=<output_dir>/page/index.html
"""

import sys
from pathlib import Path

from lenet.page import build
from lenet.records import store
from lenet.terminal import command, say, typed

TYPED = {"runs": "", "output_dir": "outputs", "data_dir": "", "file": ""}


def main() -> None:
    """The entry point."""
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        say(str(__doc__))
        return
    given = typed(arguments, TYPED)
    runs = [run.strip() for run in given["runs"].strip("[]").split(",") if run.strip()]
    text = build.page(runs, given["output_dir"], given["data_dir"] or None)
    path = Path(given["file"] or Path(given["output_dir"]) / "page" / "index.html")
    store.replace(path, text.encode())
    say(str(path))


if __name__ == "__main__":
    command(main)
