"""Draw a study's chart again from its records: python scripts/ablation_chart.py study=quick

output_dir=outputs is where studies lie.
"""

import sys
from pathlib import Path

from lenet import report
from lenet.config import Refusal
from lenet.terminal import command


def main() -> None:
    """The entry point."""
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        print(__doc__)
        return
    given = {"output_dir": "outputs"}
    for text in arguments:
        key, _, value = text.partition("=")
        if key not in ("study", "output_dir") or not value:
            raise Refusal(f"{text}: write study=<name> and perhaps output_dir=<folder>")
        given[key] = value
    root = Path(given["output_dir"])
    if "study" not in given:
        studies = sorted(path.parent.name for path in root.glob("*/plan.json"))
        raise Refusal(f"say study=<name>; studies in {root}: {', '.join(studies)}")
    print("\n".join(str(path) for path in report.ablation(root / given["study"])))


if __name__ == "__main__":
    command(main)
