"""Draw a study's figures, tables and page: `lenet chart --help`."""

from lenet.__main__ import script

if __name__ == "__main__":
    script("chart")
