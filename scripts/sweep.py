"""Carry out a design and draw its chart: python scripts/sweep.py design=quick

Other keys are those of lenet.train and hold for all runs: replicates=5, epochs=3,
data=mnist, output_dir=outputs, study=name. The same command again trains what is missing.
"""

import sys

from rich.console import Console

from lenet import design, sweep
from lenet.config import Refusal
from lenet.terminal import command
from lenet.train import progress_bar


def main() -> None:
    """The entry point."""
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        print(f"{__doc__}\nDesigns: {', '.join(design.available())}")
        return
    chosen = [text for text in arguments if text.startswith("design=")]
    if len(chosen) != 1:
        designs = ", ".join(design.available())
        raise Refusal(f"say design=<name> once; designs: {designs}")
    name = chosen[0].removeprefix("design=")
    plan = design.load(name, [text for text in arguments if text not in chosen])
    with progress_bar(Console(stderr=True)) as progress:
        paths = sweep.carry_out(plan, progress)
    print("\n".join(str(path) for path in paths))


if __name__ == "__main__":
    command(main)
