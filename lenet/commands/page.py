"""Make the page on which one draws a digit and watches one or two networks read it.

lenet page
    the published networks of 1998 and of today, in outputs/page/index.html
lenet page runs=[3f2a,9c01]
    any one or two runs, by the first letters of their ids, their folders, or modern
    and paper, which come with lenet
output_dir=outputs data_dir=<folder> file=<output_dir>/page/index.html
picture=true takes a picture of it too, screenshot.png beside it, with a Chromium
"""

from collections.abc import Sequence
from pathlib import Path

from lenet.config import Refusal
from lenet.records import atomic_files
from lenet.terminal import Said, listed, typed

TYPED = {
    "runs": "",
    "output_dir": "outputs",
    "data_dir": "",
    "file": "",
    "picture": "false",
}


def main(arguments: Sequence[str]) -> Said:
    """Write the page that the arguments mean; its file."""
    given = typed(arguments, TYPED)
    if given["picture"] not in ("true", "false"):
        raise Refusal(f"picture={given['picture']}: write picture=true")
    runs = listed(given["runs"])
    # With torch, for which a typing error need not wait.
    from lenet.page import build, screenshot

    text = build.page_text(runs, given["output_dir"], given["data_dir"] or None)
    path = Path(given["file"] or Path(given["output_dir"]) / "page" / "index.html")
    atomic_files.replace(path, text.encode())
    if given["picture"] == "false":
        return Said.of_files([path])
    atomic_files.replace(
        picture := path.with_name("screenshot.png"), screenshot.taken(path)
    )
    return Said.of_files([path, picture])
