"""Carry out a design and draw its chart: `lenet sweep --help`."""

from lenet.__main__ import script

if __name__ == "__main__":
    script("sweep")
