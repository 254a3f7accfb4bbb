"""Locks on files, which the kernel frees with the process that holds them.

Files, not folders: over NFS a folder's lock holds on one machine alone, a file's on
all. A lock says who holds it, for those who wait.
"""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import time
from pathlib import Path

from lenet.config import Refusal


def take_lock(path: Path, wait: bool = False) -> int | None:
    """A handle that locks this file, which is made if need be; None while another
    process has the lock and this one is not to wait."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not locked(handle):
                if not wait:
                    os.close(handle)
                    return None
                print(f"waiting for {path.parent}: {holder(path)}", file=sys.stderr)
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever frees a lock removes its file. A handle from before locks a file
            # that nobody else can open any more, which keeps nobody off: only that of
            # the path counts.
            if still_same_file(path, handle):
                who = f"{os.getpid()} {time.time():.0f} {socket.gethostname()}"
                os.truncate(handle, 0)
                os.write(handle, who.encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # what is locked was removed or moved away: try again


def locked(handle: int) -> bool:
    """Whether the file is locked now, by this process; a Refusal (3) where it has no
    locks, an OSError where it is gone."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        if is_gone(problem):
            raise
        raise Refusal(
            f"this file system has no locks ({problem.strerror}), without which two "
            "processes would train one run: name an output_dir on another one",
            3,
        ) from None
    return True


def is_gone(problem: OSError) -> bool:
    """Whether what was asked for has been removed; over NFS, by another machine."""
    return problem.errno in (errno.ENOENT, errno.ESTALE)


def is_held(path: Path) -> bool:
    """Whether another process has the lock now, or may have: it cannot be seen."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError as problem:
        return not is_gone(problem)
    try:
        # A lock that could be had is nobody's; closing the handle gives it back.
        return not locked(handle)
    except OSError:
        return False  # removed since
    finally:
        os.close(handle)


def still_same_file(path: Path, handle: int) -> bool:
    """Whether the path still leads to the file that is open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except OSError as problem:
        if not is_gone(problem):
            raise
        return False


def free(path: Path, handle: int) -> None:
    """Remove and unlock the file of a lock that `take_lock` gave."""
    # Removed while it is held: nobody can have come between.
    with contextlib.suppress(OSError):  # it is in no one's way
        if still_same_file(path, handle):
            path.unlink()
    os.close(handle)


def holder(path: Path) -> str:
    """Who holds a lock, since when, and how to go on."""
    try:
        process, since, host = path.read_text().split()
        clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(int(since)))
    except (OSError, ValueError):
        return "another process holds it"
    return (
        f"process {process} on {host} has held it since {clock}; if that one hangs or "
        f"is suspended, kill {process} (kill -CONT {process}) there"
    )
