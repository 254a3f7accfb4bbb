"""One page over the reports of a folder: each study with what it found."""

import re
from pathlib import Path

from markupsafe import Markup

from lenet.records.atomic_files import replace
from lenet.report.exhibit_page import document
from lenet.report.findings_section import findings_section
from lenet.report.template import filled

FOUND = re.compile(r'<meta name="description" content="([^"]*)">')
READ = 4000  # bytes of a page in which that stands


def write_index(folder: Path) -> Path:
    """The page `index.html` of the reports that lie in the folder's folders."""
    studies = []
    for path in sorted(folder.glob("*/report.html")):
        with path.open(encoding="utf-8") as file:
            said = FOUND.search(file.read(READ))
        about = Markup(said[1] if said else "")  # escaped where it was written
        studies.append({"name": path.parent.name, "about": about})
    target = folder / "index.html"
    title = f"{len(studies)} studies" if len(studies) != 1 else "One study"
    sections = [findings_section(folder), filled("studies", studies=studies)]
    replace(target, document(title, [], [], sections).encode())
    return target
