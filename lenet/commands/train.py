"""Train the runs that a command line means: lenet train activation=tanh seed=3"""

import sys
from collections.abc import Sequence

from lenet import train


def explain() -> str:
    """What --help says."""
    return train.explain()


def main(arguments: Sequence[str]) -> None:
    """Hand the arguments to Hydra, which reads them from sys.argv."""
    sys.argv = [sys.argv[0], *arguments]
    train.main()
