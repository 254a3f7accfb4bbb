"""Compiled functions on disk: never those of another program, never fatal."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lenet.training import user_cache
from lenet.training.loops import cache

PROGRAM = """
import sys
from lenet.training import user_cache
from lenet.training.loops import cache

def double(x):
    return 2 * x

if "nowhere" in sys.argv:
    user_cache.cache_folder = lambda name: None
found = cache.entrance(double)
print(found(21), sum(found.stats.cache_hits.values()))
"""


def run(folder: Path, *words: str) -> list[str]:
    """What the program prints, with its compiled functions in a folder."""
    program = folder.parent / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, str(program), *words],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    return done.stdout.split()


def files(folder: Path, ending: str) -> list[Path]:
    """The files that numba keeps there."""
    return sorted(folder.rglob(f"*{ending}"))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "a bit flipped": lambda content: (
        content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
    ),
    "another file": lambda content: b"<html>no such page</html>",
}


@pytest.mark.slow
def test_program_finds_what_another_compiled(tmp_path: Path) -> None:
    """Process after process; a broken file costs one of them a compilation."""
    folder = tmp_path / "kept"
    assert run(folder) == ["42", "0"]
    assert run(folder) == ["42", "1"]
    (path,) = files(folder, ".nbc")
    path.write_bytes(DAMAGE["a bit flipped"](path.read_bytes()))
    assert run(folder) == ["42", "0"]
    assert run(folder) == ["42", "1"]


def double(x: int) -> int:
    """What is compiled here."""
    return 2 * x


def compiled_or_found() -> tuple[int, int]:
    """What a new dispatcher returns for 21, and how often it found that on disk."""
    dispatcher = cache.entrance(double)
    return dispatcher(21), sum(dispatcher.stats.cache_hits.values())


@pytest.mark.parametrize("ending", [".nbc", ".nbi"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_file_is_compiled_again(
    name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken cache costs a compilation, and is whole again after it."""
    monkeypatch.setattr(user_cache, "cache_folder", lambda version: str(tmp_path))
    assert compiled_or_found() == (42, 0)
    assert compiled_or_found() == (42, 1)
    (path,) = files(tmp_path, ending)
    path.write_bytes(DAMAGE[name](path.read_bytes()))
    assert compiled_or_found() == (42, 0)
    assert compiled_or_found() == (42, 1)


def test_nowhere_to_write_is_no_error(tmp_path: Path) -> None:
    """Then every process compiles for itself."""
    folder = tmp_path / "kept"
    assert run(folder, "nowhere") == ["42", "0"]
    assert not files(folder, ".nbc")


def test_first_place_that_can_be_written_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's cache where the package's folder cannot be written."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    monkeypatch.setattr(user_cache, "PACKAGE", file)  # a file is no folder
    assert user_cache.cache_folder.__wrapped__("x") == str(
        tmp_path / "users" / "lenet" / "x"
    )
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "first"))
    assert user_cache.cache_folder.__wrapped__("x") == str(tmp_path / "first" / "x")


def test_version_is_of_the_whole_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit of any module that is compiled, or that these import, has a folder of its
    own."""
    before, training = cache.version.__wrapped__(), cache.HERE.parent
    places = [path.relative_to(training) for path in cache.sources()]
    assert {path.name for path in cache.HERE.glob("*.py")} <= {
        *(place.name for place in places),
        *cache.PLAIN,
    }
    for path in cache.sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                module = training.parent.parent / str(node.module).replace(".", "/")
                parts = [module / f"{alias.name}.py" for alias in node.names]
                for needed in (module.with_suffix(".py"), *parts):
                    known = needed in cache.sources() or needed.name == "user_cache.py"
                    assert known or not needed.exists(), needed
    shutil.copytree(training, tmp_path / "training")
    monkeypatch.setattr(cache, "HERE", tmp_path / "training" / "loops")
    assert cache.version.__wrapped__() == before
    for place in places:
        edited = tmp_path / "training" / place
        kept = edited.read_bytes()
        edited.write_bytes(kept + b"#")
        assert cache.version.__wrapped__() != before, place
        edited.write_bytes(kept)


def test_programs_of_long_ago_are_removed(tmp_path: Path) -> None:
    """The newest four stay, and whatever is no program."""
    for age, name in enumerate(["proofs", *("0123456789abcde" + d for d in "012345")]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    user_cache.thin(tmp_path)
    left = {path.name[-1] for path in tmp_path.iterdir()}
    assert left == {"s", *"0123"}
