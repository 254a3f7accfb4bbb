"""Every example in a docstring of lenet runs and gives what it says; who must have one.

Examples are found in the source, not in what was imported from it: jaxtyping wraps the
functions, and doctest would take the wrapped ones for another module's.
"""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lenet

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lenet"
STUDY = "leave_one_out"  # the one of which an example tells
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`(lenet(?:\.\w+)+)")
MODULES = {found.name for found in pkgutil.walk_packages(lenet.__path__, "lenet.")}
CALLED = {  # by the notebook and by commands alone: from tables or images to a result
    ("lenet.figures.ablation_chart", "ablation_chart"),
    ("lenet.interpret.apgd", "apgd"),
    ("lenet.interpret.probe", "probes"),
    ("lenet.interpret.sae", "portraits"),
    ("lenet.interpret.sae", "sparsity_curve"),
    ("lenet.interpret.smallest_radii", "smallest_radii"),
    ("lenet.report.study_report", "write_figure"),
}
Docstring = tuple[int, str]  # its line, and what it says


@cache
def docstrings(module: str) -> dict[str, Docstring]:
    """The docstrings of a module of lenet, by the names of their owners; its own by
    an empty name."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: dict[str, Docstring] = {}

    def look(node: ast.AST, name: str) -> None:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if text := ast.get_docstring(node):
                found[name] = node.body[0].lineno - 1, text
            for child in node.body:
                own = getattr(child, "name", "")
                look(child, f"{name}.{own}".strip("."))

    look(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def modules() -> Iterator[str]:
    """The modules of lenet in which there is an example."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__")


@pytest.mark.parametrize("module", [*modules()])
def test_examples_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gives what it says, in a folder that has one study, as in a checkout, and
    where nothing that it writes is kept."""
    place = tmp_path / "outputs" / STUDY
    place.mkdir(parents=True)
    for name in ("plan.json", "records.jsonl.gz"):
        shutil.copy(ROOT / "outputs" / STUDY / name, place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = vars(importlib.import_module(module))
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for owner, (line, text) in docstrings(module).items():
        title = f"{module}.{owner}".rstrip(".")
        path = str(names["__file__"])
        test = parser.get_doctest(text, dict(names), title, path, line)
        runner.run(test, out=said.append)
    assert runner.tries, f"{module} has a >>> in no docstring"
    if runner.failures:
        pytest.fail("".join(said), pytrace=False)


def called(page: str) -> Iterator[Any]:
    """What a page calls in its Python, or names between backticks as `lenet.…`: also
    the methods of what a function says that it returns, and a call of that itself."""
    for path in INLINE.findall(page):
        yield meant(path, {"lenet": lenet})
    imported: dict[str, Any] = {}
    made: dict[str, Any] = {}  # the classes of what is called for
    for block in BLOCK.findall(page):
        nodes = list(ast.walk(ast.parse(block)))
        for node in nodes:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name == "lenet"]
                imported |= dict.fromkeys(names, lenet)
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(
                "lenet."
            ):
                for alias in node.names:
                    path = f"{node.module}.{alias.name}"
                    imported[alias.name] = meant(path, {"lenet": lenet})
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                function = meant(ast.unparse(node.value.func), imported)
                if inspect.isfunction(function):
                    result = inspect.signature(function).return_annotation
                    made[ast.unparse(node.targets[0])] = result
        for node in nodes:
            if isinstance(node, ast.Call):
                path = ast.unparse(node.func)
                yield meant(
                    f"{path}.__call__" * (path in made) or path, imported | made
                )


def meant(path: str, known: dict[str, Any]) -> Any:
    """What a dotted name means, None if it is nothing of lenet."""
    first, *names = path.split(".")
    found = known.get(first)
    for name in names:
        if inspect.ismodule(found) and f"{found.__name__}.{name}" in MODULES:
            found = importlib.import_module(f"{found.__name__}.{name}")
        else:
            found = getattr(found, name, None)
    return found


def test_who_has_an_example() -> None:
    """Each public name of lenet, each function that a page of docs/ calls, and those
    of CALLED."""
    functions = [getattr(lenet, name) for name in lenet.__all__]
    for page in sorted((ROOT / "docs").glob("*.md")):
        functions += called(page.read_text(encoding="utf-8"))
    named = {
        (function.__module__, function.__qualname__)
        for function in functions
        if inspect.isfunction(function) and function.__module__ in MODULES
    }
    # Not vacuous: a function that is called, a method, a path between backticks.
    assert named >= {
        ("lenet.interpret.gradcam", "grad_cam"),
        ("lenet.interpret.trained_network", "Trained.predict"),
        ("lenet.interpret.trained_network", "Trained.__call__"),
        ("lenet.interpret.robustness", "accuracy_curve"),
        ("lenet.records.store", "select"),
    }
    named |= CALLED
    lacking = [
        f"{module}.{name}"
        for module, name in sorted(named)
        if ">>>" not in docstrings(module).get(name, (0, ""))[1]
    ]
    assert not lacking, f"no example in the docstring of {', '.join(lacking)}"
