"""What a run looks at and knows in each layer: `lenet interpret --help`."""

from lenet.__main__ import script

if __name__ == "__main__":
    script("interpret")
