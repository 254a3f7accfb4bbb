"""Draw a study's figures, tables and page from its records alone.

python scripts/ablation_chart.py study=quick
    a study in output_dir=outputs; allow_partial=true where runs are missing
python scripts/ablation_chart.py study=leave_one_out,one_factor
    two studies side by side
python scripts/ablation_chart.py output_dir=outputs reference=[activation=relu]
    whatever was trained there, in the folder ad_hoc; epochs=20, data=mnist, code=0123
    and the like leave out other runs; reference= may also be a run's id

mix=true draws runs of different code or torch together, and says so;
response=corrected_error takes MNIST's test labels as human votes correct them, in a
folder of its own.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from lenet import report, study
from lenet.config import RANGES, Refusal, place, suggest
from lenet.corrected import CORRECTED
from lenet.effect import TEST_ERROR
from lenet.study import NARROWED, Study
from lenet.terminal import command, pair, say

OWN = ("study", "output_dir", "reference", "allow_partial", "mix", "response")
RESPONSES = (TEST_ERROR.name, CORRECTED.name)


def main() -> None:
    """The entry point."""
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        say(str(__doc__))
        return
    given = {"output_dir": "outputs"} | dict(map(typed, arguments))
    found = adhoc(given) if "reference" in given else published(given)
    names = [one.name for one in found]
    if given.get("response") == CORRECTED.name:
        found, names = list(map(study.corrected, found)), [*names, CORRECTED.name]
    folder = Path(given["output_dir"]) / "-".join(names)
    say("\n".join(str(path) for path in report.write(folder, found)))


def typed(text: str) -> tuple[str, str]:
    """The key and the value of one argument."""
    key, value = pair(text)
    if key not in (*OWN, *NARROWED, *RANGES):
        raise Refusal(suggest(key, (*OWN, *NARROWED), "key", "keys"))
    if key in ("allow_partial", "mix") and value not in ("true", "false"):
        raise Refusal(f"{text}: write {key}=true or {key}=false")
    if key == "response" and value not in RESPONSES:
        raise Refusal(suggest(value, RESPONSES, "response", "responses"))
    return key, value


def published(given: Mapping[str, str]) -> list[Study]:
    """The one or two studies that are named."""
    root, names = Path(given["output_dir"]), given.get("study", "").split(",")
    known = sorted(path.parent.name for path in root.glob("*/plan.json"))
    for name in names:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise Refusal(
                f"study={name or '?'}: the studies in {root} are: {listed}; for runs "
                "without a study say reference=[activation=relu], the levels to "
                "measure from"
            )
    if len(names) > 2:
        raise Refusal("two studies fit side by side: write study=one,other")
    if extra := given.keys() - OWN:
        raise Refusal(
            f"{extra.pop()}= chooses among runs without a study: see reference="
        )
    allowed = [given.get(key) == "true" for key in ("allow_partial", "mix")]
    return [study.published(root / name, *allowed) for name in names]


def adhoc(given: Mapping[str, str]) -> list[Study]:
    """Whatever lies in an output directory, against the reference that is named."""
    name = given.get("study", "ad_hoc")
    place("study", name)
    if (Path(given["output_dir"]) / name / "plan.json").exists():
        raise Refusal(f"study={name} has a plan with its own reference: leave one out")
    reference = given["reference"].strip("[]").split(",")
    narrow = {key: value for key, value in given.items() if key not in OWN}
    mix = given.get("mix") == "true"
    return [study.adhoc(given["output_dir"], reference, narrow, name, mix)]


if __name__ == "__main__":
    command(main)
