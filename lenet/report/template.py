"""Markup from the templates beside this module; what is put in is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
    autoescape=True,
    undefined=StrictUndefined,  # a value that is not given is an error
    trim_blocks=True,
    lstrip_blocks=True,
)


def filled(template: str, /, **values: Any) -> Markup:
    """A template with these values: texts are escaped, Markup is taken as it is."""
    return Markup(ENVIRONMENT.get_template(f"{template}.html").render(values))
