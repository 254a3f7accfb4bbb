"""Where something that can be made again is kept on this machine."""

import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "__pycache__"


@cache
def cache_folder(name: str) -> str | None:
    """A folder of this name that only this user can write; None where there is none.

    In the package; or, where that cannot be written, in the user's cache folder, or
    that for temporary files. NUMBA_CACHE_DIR comes before them all.
    """
    users = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    mine = os.getuid() if hasattr(os, "getuid") else 0
    places = [
        *(Path(given) for given in [os.environ.get("NUMBA_CACHE_DIR")] if given),
        PACKAGE,
        *(Path(users) / "lenet" for _ in [0] if os.path.isabs(users)),
        Path(tempfile.gettempdir()) / f"lenet-{mine}",
    ]
    for place in places:
        path = place / name
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = path.stat().st_uid if hasattr(os, "getuid") else mine
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError:
            continue
        if owner == mine:  # another user's folder could hold another program
            return str(path)
    return None


def thin(place: Path, most: int = 4) -> None:
    """Remove the compiled functions of all programs but the newest ones.

    A process that still uses another one compiles again, no more.
    """
    programs = [
        path for path in place.iterdir() if re.fullmatch("[0-9a-f]{16}", path.name)
    ]
    programs.sort(key=lambda path: path.stat().st_mtime)
    for old in programs[:-most]:
        shutil.rmtree(old, ignore_errors=True)
