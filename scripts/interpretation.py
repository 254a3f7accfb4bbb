"""What a run looks at and knows in each layer: `lenet interpret --help`."""

from lenet.__main__ import run_script

if __name__ == "__main__":
    run_script("interpret")
