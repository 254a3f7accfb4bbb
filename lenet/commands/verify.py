"""Check what is stored: every seal and weight file, or one run trained again.

lenet verify                    all runs and studies in output_dir=outputs
lenet verify run=3f2a           train one run again and compare its bits
    output_dir=outputs data_dir=<folder>
"""

from collections.abc import Sequence

from lenet.commands import sweep
from lenet.terminal import Said, typed

KEYS = {"run": "", "output_dir": "outputs", "data_dir": ""}


def main(arguments: Sequence[str]) -> Said:
    """What was found to be sound; a Refusal (4) if something is not."""
    given = typed(arguments, KEYS)
    places = [f"{key}={given[key]}" for key in ("output_dir", "data_dir") if given[key]]
    action = "rerun" if given["run"] else "verify"
    return sweep.verify_or_rerun(given, places, action)
