"""Attack the runs of a study, and their chart: `lenet robustness --help`."""

from lenet.__main__ import run_script

if __name__ == "__main__":
    run_script("robustness")
