"""The page as one HTML file: markup, style, modules and content joined as text.

The modules are plain ES modules, so that node and the type checker find their way among
them. Joined in the order of their imports they are one script, and the file opens
without a server. Every name at the top of a module is therefore its own.
"""

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet.config import Refusal
from lenet.page import ablation_data, digit_data
from lenet.page.network_data import difference, run_content
from lenet.records import run_record, store
from lenet.records.record_types import Record
from lenet.records.run_record import edition
from lenet.training import data as datasets
from lenet.training.data import Data

HERE = Path(__file__).parent
ENTRY = "main.mjs"
FACTORIAL, FIGURE_8 = "factorial", "paper_1998"  # studies, where they are published
LEAD = (
    "The network that LeCun, Bottou, Bengio and Haffner published in 1998, and what "
    "practice has made of it: the same layers, the same 60,000 digits to learn from, a "
    "quarter of a century apart."
)
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)


def page_text(runs: Sequence[str], output_dir: str, data_dir: str | None) -> str:
    """The whole page as text, for one run or two; the same text for the same records.

    runs: unique prefixes of run ids, or folders of runs; without any, the published
    runs of the two presets.
    """
    published = all_published(output_dir)
    records = [store.select(run, output_dir) for run in runs] or preset_runs(
        published, output_dir
    )
    if len(records) > 2:
        raise Refusal(f"{len(records)} runs: the page shows one or two")
    if any(record.get("classes", 10) != 10 for record in records):
        raise Refusal("the page is of networks of ten classes, which read digits")
    data = datasets.load_data(records[0]["treatment"]["data"], data_dir)
    if any(record["data"] != data.sha256 for record in records):
        raise Refusal("the runs were trained on another data set than lies here", 3)
    networks = [
        run_content(
            record, run_record.load_stack([record], home(run, output_dir)), published
        )
        for record, run in zip(records, [*runs] or [""] * len(records), strict=True)
    ]
    content = {
        "networks": with_distinct_names(networks),
        "digits": picks(data, Path(output_dir), published),
        "ablation": published_factorial(Path(output_dir) / FACTORIAL),
    }
    return single_file(content)


def with_distinct_names(networks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The networks, with their seeds in their names where those are the same."""
    if len({network["name"] for network in networks}) == len(networks):
        return list(networks)
    return [
        {**network, "name": f"{network['name']}, seed {network['seed']}"}
        for network in networks
    ]


def home(run: str, output_dir: str) -> str:
    """The output directory of a run that may be named by its folder."""
    place = Path(run)
    inside = run and (place / "record.json").is_file()
    return str(place.parent.parent) if inside else output_dir


def all_published(output_dir: str) -> list[Record]:
    """The records of all published studies, each once."""
    paths = sorted(Path(output_dir).glob("*/records.jsonl.gz"))
    every = [record for path in paths for record in store.read_published(path)]
    return list({record["run_id"]: record for record in every}.values())


def preset_runs(published: Sequence[Record], output_dir: str) -> list[Record]:
    """The first published run of each preset, of the latest edition, whose weights are
    published too; or the one that comes with lenet."""
    records: dict[str, Record] = {}
    for record in sorted(published, key=edition, reverse=True):
        path = store.weights_path(output_dir, record["run_id"])
        if record["status"] == "finished" and path.exists():
            nearest, changes = difference(record["treatment"])
            if not changes:
                records.setdefault(nearest, record)
    return [records.get(name) or store.select(name, "") for name in ("paper", "modern")]


def picks(data: Data, outputs: Path, published: Sequence[Record]) -> list[Any]:
    """The groups of digits that may be picked, from the studies that there are."""
    groups = [digit_data.sample_digits(data)]
    for title, name in (
        ("Missed by most", FACTORIAL),
        ("Missed in 1998 (Fig. 8)", FIGURE_8),
    ):
        path = outputs / name / "records.jsonl.gz"
        records = store.read_published(path) if path.exists() else []
        if any(record["data"] == data.sha256 and record["right"] for record in records):
            groups.append(digit_data.missed_digits(title, data, records))
    return groups


def published_factorial(folder: Path) -> dict[str, Any] | None:
    """The factorial, if it is published here."""
    return (
        ablation_data.factorial_content(folder)
        if (folder / "plan.json").exists()
        else None
    )


def single_file(content: Any) -> str:
    """Markup, style, content and script as one file that needs no other."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    names = [network["name"] for network in content["networks"]]
    parts = {
        "title": html.escape(title(names)),
        "lead": LEAD if names == ["1998", "today"] else "",
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "content": text.replace("<", "\\u003c"),  # no tag ends within
        "script": joined_script(),
    }
    markup = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda group: parts[group[1]], markup)


def title(names: Sequence[str]) -> str:
    """What the page is about: who reads what is drawn."""
    beside = f" beside {names[1]}" if len(names) > 1 else ""
    return f"Draw a digit. Watch {names[0]} read it{beside}."


def joined_script() -> str:
    """All modules as one, each after those that it imports."""
    sources: dict[str, str] = {}

    def add(name: str) -> None:
        source = (HERE / name).read_text(encoding="utf-8")
        # What it imports first: joined in this order, every name is there before it is
        # used.
        for other in IMPORT.findall(source):
            if other not in sources:
                add(other)
        plain = re.sub(r"^export ", "", IMPORT.sub("", source), flags=re.MULTILINE)
        # A line that is left would be an error in a script that is no module.
        if re.search(r"^(import|export)\b", plain, re.MULTILINE):
            raise ValueError(f"{name} has an import or export that is not on one line")
        sources[name] = plain

    add(ENTRY)
    return "\n".join(sources.values())
