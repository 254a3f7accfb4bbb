"""Carry out a design and draw its chart: `lenet sweep --help`."""

from lenet.__main__ import run_script

if __name__ == "__main__":
    run_script("sweep")
