"""Compiled functions, kept on disk under the hash of the whole program.

numba looks for changes in the file of one function alone, and dies where it cannot
write or read its cache. Here every version of the program has a folder of its own, in
the package or, where that cannot be written, in the user's cache; a file that is
damaged counts as missing; and where nothing can be kept, every process compiles anew.
"""
# mypy: allow-untyped-defs, allow-untyped-calls

import hashlib
import pickle
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import numba
from numba import config, njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

from lenet.training import user_cache

settings: Any = config  # numba gives it its attributes as it is imported
HERE = Path(__file__).resolve().parent
BARE: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
PLAIN = ("__init__.py", "passes.py")  # what is not compiled
IMPORTED = re.compile(r"^from lenet\.training\.([\w.]+) import", re.MULTILINE)


def sources() -> list[Path]:
    """What becomes machine code: the modules here, and those that they import."""
    waiting = [path for path in HERE.glob("*.py") if path.name not in PLAIN]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            names = IMPORTED.findall(path.read_text(encoding="utf-8"))
            waiting += [HERE.parent / f"{n.replace('.', '/')}.py" for n in names]
    return sorted(found, key=lambda path: path.relative_to(HERE.parent).as_posix())


@cache
def version() -> str:
    """The hash of all that becomes machine code, and of what compiles it."""
    content = b"".join(path.read_bytes() for path in sources())
    made_by = f"{numba.__version__} {llvmlite.__version__}"
    return hashlib.sha256(content + made_by.encode()).hexdigest()[:16]


def folder() -> str | None:
    """Where compiled functions are kept; None where no place can be written."""
    return user_cache.cache_folder(version())


class SealedFile(IndexDataCacheFile):
    """numba's files of one function; one that is damaged counts as missing."""

    def _load_index(self):
        try:
            return super()._load_index()
        except (OSError, EOFError, ValueError, TypeError, pickle.PickleError):
            return {}
        except (AttributeError, ImportError, IndexError):  # of a damaged pickle
            return {}

    def _load_data(self, name):
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise FileNotFoundError(name)  # numba then compiles it again
        return pickle.loads(content[32:])

    def _save_data(self, name, data):
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)


class SealedCache(FunctionCache):
    """A cache that belongs to the program, not to the file of a function."""

    def __init__(self, function):
        before, settings.CACHE_DIR = settings.CACHE_DIR, folder()
        try:
            super().__init__(function)
        finally:
            settings.CACHE_DIR = before
        # One folder holds all functions of a program, wherever its sources lie.
        name, self._cache_path = self._impl.filename_base, folder()
        self._cache_file = SealedFile(self._cache_path, name, version())

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk: the next process compiles again
            print(f"note: compiled code is not kept: {error}", file=sys.stderr)


def compiled(function):
    """`function` compiled by numba once per program and machine, to be called by other
    compiled functions alone: without what calls from Python would need."""
    return kept_on_disk(njit(**BARE)(function))


def entrance(function):
    """`function` compiled for calls from Python that hold no interpreter lock."""
    return kept_on_disk(njit(nogil=True)(function))


def kept_on_disk(dispatcher):
    """A compiled function that looks for itself on disk first."""
    if folder() is not None:
        dispatcher._cache = SealedCache(dispatcher.py_func)
    return dispatcher
