"""Attack one test image and draw what happens: `lenet attack --help`."""

from lenet.__main__ import script

if __name__ == "__main__":
    script("attack")
