"""What every command does with a refusal, an interruption and a reader that is gone."""

import contextlib
import gc
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

from lenet.config import FRACTION, Refusal, short_text, suggest, typed_place

JSON = "--json"  # prints the result of a command for a program
HELP = ("--help", "-h")  # as in lenet/__main__.py, which cannot wait for this module


@dataclass(frozen=True)
class Said:
    """What a command found: as a reader wants it, and as a program does."""

    text: str
    data: Any

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> "Said":
        """The files that a command wrote."""
        files = [str(path) for path in paths]
        return cls("\n".join(files), {"files": files})


class Terminated(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, with another exit code."""


def say(text: str, file: Any = None) -> None:
    """Print a result; that its reader is gone (`| head`) is no failure of the run."""
    stream = file or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # Python writes out what is left when it ends, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise Refusal(
            f"{stream.name} cannot be written: {problem.strerror}", 3
        ) from None


def typed(arguments: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """What was typed as key=value, over the defaults of the keys that are known."""
    given = dict(known)
    for text in arguments:
        key, value = pair(text, known)
        given[key] = value
    return given


def pair(text: str, known: Collection[str] | None = None) -> tuple[str, str]:
    """The key, one of those that are known, and the value that were typed; a place as
    lenet.train would take it."""
    key, _, value = text.partition("=")
    if known is not None and key not in known:
        raise Refusal(suggest(short_text(key), known, "key", "keys"))
    if not value or not text.isprintable():
        raise Refusal(f"{short_text(text)!r}: write {short_text(key)}=<value>")
    if key in ("output_dir", "data_dir"):
        value = typed_place(key, value)
    if key == "data_dir" and not Path(value).is_dir():
        raise Refusal(f"{text}: there is no such folder", 3)
    return key, value


def number(key: str, text: str) -> float:
    """The number that was typed under a key; 8/255 is one."""
    parts = FRACTION.fullmatch(text)
    if parts and float(parts[2]):
        return float(parts[1]) / float(parts[2])
    try:
        if "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise Refusal(f"{key}={text} is no number")


def listed(text: str) -> list[str]:
    """The parts of [a,b], or of a,b."""
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [part.strip() for part in inner.split(",") if part.strip()]


@contextlib.contextmanager
def refusals(memory: bool = True) -> Iterator[None]:
    """A Refusal in here becomes its message on stderr and its exit code.

    Hydra's task needs this within, since Hydra exits with 1 for whatever it catches.
    """
    try:
        with environment(memory):
            yield
    except Refusal as refusal:
        Console(stderr=True).print(
            escape(str(refusal)), soft_wrap=True, highlight=False
        )
        raise SystemExit(refusal.code) from None


@contextlib.contextmanager
def environment(memory: bool = True) -> Iterator[None]:
    """What the system refuses in here, and nobody foresaw, is a Refusal (3) too.

    memory: that too; where not, it is raised, for a launcher to try fewer runs.
    """
    try:
        yield
    except OSError as problem:
        where = problem.filename or "the system"
        raise Refusal(f"{where}: {problem.strerror or problem}", 3) from None
    except MemoryError:
        if not memory:
            raise
        raise Refusal(
            "there is not enough memory; workers=1 takes the least", 3
        ) from None


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """The handler of SIGINT and SIGTERM: the first one stops, a second one kills."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def program() -> list[str]:
    """The words that start this program again."""
    if os.path.basename(sys.argv[0]) == "lenet":  # the command of the wheel
        return ["lenet"]
    module = sys.modules["__main__"].__spec__  # None for a script
    if module:
        return ["python", "-m", module.name.removesuffix(".__main__")]
    return ["python", sys.argv[0]]


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether what was typed asks what may be typed."""
    return any(text in HELP for text in arguments)


def command(main: Callable[[], None], explain: Callable[[], str] | None = None) -> None:
    """Run a command, or say what it is for; it ends with the exit code of what stopped
    it.

    explain: what --help says; the docstring of the module of `main` unless given.
    """
    line = shlex.join([*program(), *sys.argv[1:]])  # before anything changes it
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may have any letters
            stream.reconfigure(errors="backslashreplace")
    try:
        with refusals():
            if wants_help(sys.argv[1:]):
                say(explain() if explain else str(sys.modules[main.__module__].__doc__))
            else:
                main()
    except KeyboardInterrupt as interruption:
        print(
            f"interrupted; finished runs are kept; go on with: {line}", file=sys.stderr
        )
        gc.freeze()  # or Python looks through ten thousand records before it ends
        raise SystemExit(143 if isinstance(interruption, Terminated) else 130) from None
