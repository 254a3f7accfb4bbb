"""Make the page that reads what one draws: `lenet page --help`."""

from lenet.__main__ import script

if __name__ == "__main__":
    script("page")
