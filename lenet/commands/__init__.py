"""The commands: each module is one verb of `lenet`, and the code of its script.

A module's docstring is its help; `main(arguments)` does what was typed. Nothing is
imported to list them: `lenet --help` waits for no library.
"""

import ast
from pathlib import Path

VERBS = (  # in the order of `lenet --help`
    "train",
    "sweep",
    "status",
    "verify",
    "chart",
    "attack",
    "robustness",
    "interpret",
    "predict",
    "export",
    "page",
    "completion",
)


def module_docstring(verb: str) -> str:
    """The docstring of a command's module, read from its text."""
    source = (Path(__file__).parent / f"{verb}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""
