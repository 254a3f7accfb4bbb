"""Files that are whole or absent, whatever ends the process or the power."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from lenet.config import Refusal

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # of folders, over a network


def unwritable(place: Path, problem: OSError) -> Refusal:
    """The Refusal (3) for a place that cannot be written, with the space left on it."""
    there = place
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e6
    cause = problem.strerror or str(problem)
    return Refusal(
        f"{place} cannot be written: {cause} ({free:,.0f} MB free); make it writable "
        "or free some space, then give the same command again",
        3,
    )


def publish_file(path: Path, content: bytes) -> None:
    """Write a new file so that it is there whole or not at all; the first one stays.

    Where there are no hard links it is renamed: as safe while its folder is locked.
    """
    # A link fails where the name is taken, while a rename would replace what is there:
    # of two writers the first one wins.
    name = temporary_copy(path, content)
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        if not path.exists():
            os.rename(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    settle(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = temporary_copy(path, content)
        os.replace(name, path)
        settle(path.parent)
        # The folder may be new too, and its own name stands in the one above.
        settle(path.absolute().parent.parent)
    except OSError as problem:
        if name:
            Path(name).unlink(missing_ok=True)
        raise unwritable(path, problem) from None


def temporary_copy(path: Path, content: bytes) -> str:
    """The name of a temporary file beside `path` that holds the content for good."""
    # Beside its target: a rename is one step within a file system, and none across two.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, 0o644)  # mkstemp lets nobody else read
            # The content before its name: after a loss of power a name would else stand
            # for a file that is empty.
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(name)
        raise
    return name


def settle(place: Path) -> None:
    """Have the names in a folder outlast a loss of power."""
    try:
        handle = os.open(place, os.O_RDONLY)
    except PermissionError:  # of somebody above: what may not be read is not synced
        return
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def bytes_of(path: Path | str) -> bytes:
    """What is in a file; a Refusal (3) if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as problem:
        raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None
