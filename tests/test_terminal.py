"""What is printed, wherever it goes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

SAYS = "from lenet.terminal import command, say; command(lambda: say('a \\xf6'))"


def run(stdout: int | IO[bytes], **environment: str) -> tuple[int, bytes, bytes]:
    """A command that says something: exit code, stdout, stderr."""
    done = subprocess.Popen(
        [sys.executable, "-c", SAYS],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        cwd=Path(__file__).parent.parent,
    )
    said, complaint = done.communicate(timeout=60)
    return done.returncode, said, complaint


def test_letters_that_the_terminal_has_not_are_escaped() -> None:
    """A path may have any letters; a terminal of ASCII shows their codes."""
    code, said, complaint = run(subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (code, said, complaint) == (0, b"a \\xf6\n", b"")


def test_reader_that_is_gone_is_no_failure() -> None:
    """As with `| head`: exit code 0 and no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    code, _, complaint = run(writer)
    os.close(writer)
    assert (code, complaint) == (0, b"")


def test_full_disk_is_told() -> None:
    """What could not be written is an error of the environment, without traceback."""
    with open("/dev/full", "wb") as full:
        code, _, complaint = run(full)
    assert code == 3 and b"No space left" in complaint and b"Traceback" not in complaint
