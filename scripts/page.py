"""Make the page that reads what one draws: `lenet page --help`."""

from lenet.__main__ import run_script

if __name__ == "__main__":
    run_script("page")
