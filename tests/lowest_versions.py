"""The lowest versions that pyproject.toml declares, one a line, as pip's constraints.

    python tests/lowest_versions.py > lowest.txt; pip install -c lowest.txt -e ".[dev]"

pyproject.toml is the only place that says them. tests/test_lowest.py holds an
environment against them.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
BOUND = re.compile(r"([A-Za-z0-9_-]+)(?:\[.*\])?>=([0-9.]+)")


def lowest() -> dict[str, str]:
    """The lowest version of each package that is declared, the extras' too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *(text for extra in extras for text in extra)]
    bounds = [BOUND.match(text) for text in declared]
    return {match[1].lower(): match[2] for match in bounds if match}


def main() -> None:
    """Print them."""
    for name, version in lowest().items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
