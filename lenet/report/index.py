"""One page over the reports of a folder: each study with what it found."""

import html
import re
from pathlib import Path

from lenet.records.durable import replace
from lenet.report.document import document

FOUND = re.compile(r'<meta name="description" content="([^"]*)">')
READ = 4000  # bytes of a page in which that stands


def write_index(folder: Path) -> Path:
    """The page `index.html` of the reports that lie in the folder's folders."""
    rows = []
    for path in sorted(folder.glob("*/report.html")):
        with path.open(encoding="utf-8") as file:
            said = FOUND.search(file.read(READ))
        name = html.escape(path.parent.name)
        about = said[1] if said else ""  # escaped where it was written
        rows.append(f'<dt><a href="{name}/report.html">{name}</a></dt><dd>{about}</dd>')
    listed = "\n".join(rows)
    section = f"<section><dl>\n{listed}\n</dl></section>"
    target = folder / "index.html"
    title = f"{len(rows)} studies" if len(rows) != 1 else "One study"
    replace(target, document(title, [], [], [section]).encode())
    return target
