"""The notebook explains and calls, runs from top to bottom, and equals its script.

`python tests/test_notebook.py` writes it anew from the script, with its outputs.
"""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK, SCRIPT = ROOT / "lenet.ipynb", ROOT / "lenet_notebook.py"
LARGEST = 600_000  # bytes, with its outputs
SHOWN = ("fgsm", "pgd", "Targeted", "Untargeted", "of_saliency", "of_gradcam")
SHOWN += ("probes", "sparsity_curve", "published", "run")


def cells(path: Path) -> list[tuple[str, str]]:
    """The kind and the text of every cell."""
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def nodes() -> list[ast.AST]:
    """The script's syntax tree."""
    return list(ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8"))))


def test_notebook_equals_its_script() -> None:
    """lenet.ipynb has the cells of lenet_notebook.py, besides their outputs."""
    assert cells(NOTEBOOK) == cells(SCRIPT)


def test_notebook_defines_nothing() -> None:
    """It calls what the package has: no function, no class."""
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in nodes() if isinstance(node, defined)]


def test_notebook_shows_every_analysis() -> None:
    """It trains, charts, explains and attacks, with and without a target."""
    names = {node.attr for node in nodes() if isinstance(node, ast.Attribute)}
    names |= {node.id for node in nodes() if isinstance(node, ast.Name)}
    assert set(SHOWN) <= names


def test_outputs_are_those_of_one_run() -> None:
    """Every code cell was run, in order and without an error; no time is kept."""
    found: list[Any] = [c for c in jupytext.read(NOTEBOOK).cells if "outputs" in c]
    assert [cell.execution_count for cell in found] == [*range(1, len(found) + 1)]
    kinds = [output.output_type for cell in found for output in cell.outputs]
    assert set(kinds) <= {"display_data", "execute_result"}
    assert len(kinds) > 8
    assert not any("execution" in cell.metadata for cell in found)
    assert NOTEBOOK.stat().st_size < LARGEST


@pytest.mark.slow
def test_notebook_runs() -> None:
    """From top to bottom, in a kernel of its own, within 5 minutes in all."""
    line = ["-n", "0", "-p", "no:cacheprovider", "--nbmake", "--nbmake-timeout=300"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *line, str(NOTEBOOK)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 passed" in done.stdout


def main() -> None:
    """Run the script's cells and write the notebook, with no time or random name."""
    notebook = jupytext.read(SCRIPT)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    place = {"metadata": {"path": str(ROOT)}}
    NotebookClient(
        notebook, timeout=300, record_timing=False, resources=place
    ).execute()
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
