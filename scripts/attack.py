"""Attack one test image and draw what happens: `lenet attack --help`."""

from lenet.__main__ import run_script

if __name__ == "__main__":
    run_script("attack")
