"""The folders of lenet/: imports between them go one way, and tests lie as they do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LENET = Path(__file__).parent.parent / "lenet"
# A folder, or a module beside the folders, imports from its own line and from above.
ORDER = (
    "known_data config file_lock terminal",  # what is typed, refused, locked
    "training",  # a configuration is trained
    "rounding",  # numbers as text
    "records",  # and becomes a record
    "optuna_search train api",
    "studies",  # records become effects
    "interpret",
    "export",
    "sweep",  # a design becomes a sweep of records
    "figures",
    "report",
    "page",
    "commands __main__ __init__",
)
LINE = {name: at for at, names in enumerate(ORDER) for name in names.split()}


def place(module: str) -> str:
    """The folder, or the module beside the folders, that a dotted name lies in."""
    return [*module.split("."), "__init__"][1]


def imports(path: Path) -> Iterator[str]:
    """What a module imports of lenet, those imports aside that only types need."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lenet"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("lenet."))


MODULES = sorted(LENET.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LENET)))
def test_imports_go_one_way(path: Path) -> None:
    """No folder imports from one that comes after it, at the top or in a function."""
    own = place("lenet." + ".".join(path.relative_to(LENET).with_suffix("").parts))
    for name in imports(path):
        assert LINE[place(name)] <= LINE[own], f"{own} imports {name}"


@pytest.mark.parametrize("folder", ["figures", "report", "page"])
def test_what_draws_knows_no_sweep(folder: str) -> None:
    """Figures and pages are of records, however these were trained."""
    for path in (LENET / folder).rglob("*.py"):
        assert "sweep" not in {place(name) for name in imports(path)}


def test_every_folder_has_a_line() -> None:
    """Nothing lies in lenet/ that the order does not know."""
    there = {place("lenet." + path.stem) for path in LENET.glob("*.py")}
    there |= {path.parent.name for path in LENET.glob("*/*.py")}
    assert there == set(LINE)


def test_training_imports_the_configuration_and_nothing_of_the_rest() -> None:
    """The edge of the edition is a folder. Besides config it needs two modules that
    decide no bit, known_data and file_lock; terminal says what edition.py as a program
    refuses."""
    needed: dict[str, set[str]] = {}
    for path in (LENET / "training").rglob("*.py"):
        for name in imports(path):
            needed.setdefault(place(name), set()).add(path.name)
    assert needed.pop("terminal") == {"edition.py"}
    assert set(needed) == {"training", "config", "known_data", "file_lock"}


@pytest.mark.parametrize(
    "folder",
    [
        *("export", "figures", "interpret", "records", "report", "studies", "sweep"),
        *("training", "training/factor", "training/loops"),
    ],
)
def test_folder_says_what_each_of_its_modules_is(folder: str) -> None:
    """Its docstring names every module, and none that is not there."""
    place = LENET / folder
    text = ast.get_docstring(ast.parse((place / "__init__.py").read_text("utf-8")))
    modules = {path.name for path in place.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"\w+\.py", text or "")) == modules


def test_tests_lie_as_what_they_test() -> None:
    """A folder of tests/ is one of lenet/; at its top is what tests the whole. Tests
    import each other by their names alone, so no two modules share one."""
    tests = LENET.parent / "tests"
    found = [path.relative_to(tests) for path in tests.rglob("*.py")]
    there = [path for path in found if "node_modules" not in path.parts]
    assert {p.parent for p in there} <= {p.parent.relative_to(LENET) for p in MODULES}
    names = sorted(path.name for path in there)
    assert names == sorted(set(names))


SCRIPTS = sorted((LENET.parent / "scripts").glob("*.py"))
# Names that public functions of different types share, and why.
SHARED = {
    "main": "the entry point: of a program it returns nothing, of a verb its result"
}


def public_functions(path: Path) -> Iterator[tuple[str, str]]:
    """The name and the return annotation of each public function of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, ast.unparse(node.returns) if node.returns else ""


def test_public_functions_of_one_name_return_one_type() -> None:
    """A word means one thing, outside training, whose functions its factors name."""
    returned: dict[str, dict[str, list[str]]] = {}
    for path in (*MODULES, *SCRIPTS):
        if path.is_relative_to(LENET / "training"):
            continue
        for name, kind in public_functions(path):
            kinds = returned.setdefault(name, {})
            kinds.setdefault(kind, []).append(path.name)
    shared = {name: kinds for name, kinds in returned.items() if len(kinds) > 1}
    assert set(shared) == set(SHARED), {
        name: kinds for name, kinds in shared.items() if name not in SHARED
    }
