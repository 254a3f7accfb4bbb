"""Draw a study's figures, tables and page: `lenet chart --help`."""

from lenet.__main__ import run_script

if __name__ == "__main__":
    run_script("chart")
