"""The files of a figure beside the page that shows it: images and tables."""

from collections.abc import Mapping
from pathlib import Path

from lenet.figures.canvas import FORMATS, PHONE, rendered
from lenet.records.atomic_files import replace
from lenet.report import effect_tables
from lenet.report.exhibit_page import Exhibit


def exhibit_files(exhibit: Exhibit) -> tuple[Exhibit, dict[str, bytes]]:
    """A figure with its SVG, and its files by name: SVG, PNG and PDF, for a telephone
    too if it has such a form; CSV, Markdown and LaTeX."""
    name, rows = exhibit.name, exhibit.table
    images = {form: rendered(exhibit.figure, form) for form in FORMATS}
    files = {f"{name}.{form}": image for form, image in images.items()}
    exhibit = exhibit._replace(svg=images["svg"].decode())
    if exhibit.phone:
        small = {form: rendered(exhibit.draw(look=PHONE), form) for form in FORMATS}
        files |= {f"{name}_narrow.{form}": image for form, image in small.items()}
        exhibit = exhibit._replace(narrow=small["svg"].decode())
    files[f"{name}.csv"] = effect_tables.effects_csv(rows).encode()
    files[f"{name}.md"] = effect_tables.as_markdown(rows, exhibit.caption).encode()
    files[f"{name}.tex"] = effect_tables.as_latex(rows, exhibit.caption).encode()
    return exhibit, files


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files by name into a folder; their paths."""
    for name, content in files.items():
        replace(folder / name, content)
    return [folder / name for name in files]
