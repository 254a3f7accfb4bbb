"""Attack the runs of a study, and their chart: `lenet robustness --help`."""

from lenet.__main__ import script

if __name__ == "__main__":
    script("robustness")
