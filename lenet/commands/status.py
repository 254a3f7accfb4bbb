"""What is there: runs, studies and how far they are, and published weights.

lenet status                    everything in output_dir=outputs
lenet status study=quick        one study: how far it is, and which runs failed
    output_dir=outputs
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet.commands import sweep
from lenet.config import Refusal
from lenet.records import plan, store
from lenet.terminal import Said, typed

KEYS = {"study": "", "output_dir": "outputs"}


def main(arguments: Sequence[str]) -> Said:
    """What lies in an output directory; reads files alone."""
    given = typed(arguments, KEYS)
    root = Path(given["output_dir"]).expanduser()
    if given["study"]:
        return sweep.status({}, [f"{key}={value}" for key, value in given.items()])
    if not root.is_dir():
        raise Refusal(
            f"output_dir={root}: there is no such folder; nothing was trained"
        )
    runs, studies = store.finished(str(root)), folders(root)
    lines = [f"{len(runs)} runs in {root / 'runs'}"]
    lines += [study["said"] for study in studies] or ["no study"]
    return Said("\n".join(lines), {"runs": len(runs), "studies": studies})


def folders(root: Path) -> list[dict[str, Any]]:
    """Each study: its name, how many of its runs are done, and published weights."""
    found = []
    for path in sorted(root.glob("*/plan.json")):
        study = path.parent
        planned = plan.read(study)
        states = [run.state for run in plan.progress(str(root), planned)]
        done = states.count("done") + states.count("diverged")
        weights = len(list((study / "weights").glob("*.safetensors")))
        said = f"study {study.name}: {done} of {len(states)} runs done"
        said += f", weights of {weights} published" if weights else ""
        about = {"study": study.name, "done": done, "runs": len(states)}
        found.append({**about, "weights": weights, "said": said})
    return found
