"""The test images that most runs get wrong, with their pictures, for the page."""

import base64
import html
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lenet.config import Refusal
from lenet.records.contents import right_images
from lenet.records.own_pictures import OWN
from lenet.studies.rounding import decimals
from lenet.studies.study import Study, converged
from lenet.training import data as datasets

WORST = 40  # images shown


def missed_section(study: Study) -> str:
    """The test images that most runs get wrong, with how many of the runs do."""
    answered = [record for record in study.records if record["right"]]
    kept = [record for record in answered if converged(record)] or answered
    opening = '<section id="missed"><h2>Digits that runs miss most</h2>\n'
    if not kept:
        return f"{opening}<p>No run kept which images it got right.</p></section>"
    wrong = np.zeros(kept[0]["images"])
    for answers in kept:
        wrong += ~right_images(answers)
    order = np.lexsort((np.arange(len(wrong)), -wrong))[:WORST]
    order = order[wrong[order] > 0]
    name, sha256 = str(kept[0]["treatment"]["data"]), kept[0]["data"]
    pictures, why = images(name, sha256)
    cells = []
    for place in order:
        share = f"{decimals(100 * wrong[place] / len(kept), 0)} %"
        text, picture = f"test image {place}", ""
        if pictures is not None:
            text = f"{text}, a {int(pictures.test_labels[place])}"
            content = base64.b64encode(
                png(pictures.test_images[place].numpy())
            ).decode()
            picture = f'<img alt="{text}" src="data:image/png;base64,{content}">'
        cells.append(f"<li>{picture}<b>{share}</b><span>{text}</span></li>")
    never = int((wrong == 0).sum())
    which = "runs that converge" if len(kept) < len(answered) else "runs"
    said = (
        f"Of {len(wrong):,} test images, {never:,} are read rightly by all {len(kept)} "
        f"{which}. These {len(order)} are missed by the largest share of them, all "
        f"treatments together. {why}"
    )
    body = f"<ol>{''.join(cells)}</ol>"
    return f"{opening}<p>{html.escape(said)}</p>\n{body}</section>"


def images(name: str, sha256: str) -> tuple[datasets.Data | None, str]:
    """The data set, if it lies here and is the one of the runs; else why it is not."""
    root = Path(os.environ.get("LENET_DATA") or "data")
    if name in OWN:
        return None, "The pictures lie where data_dir= was: none are shown."
    if name in datasets.FOLDERS:  # which would be downloaded
        place = root / datasets.FOLDERS[name] / "raw"
        if not all(datasets.find(place, file) for file in datasets.FILES):
            return None, f"{name} is not on this machine: no pictures."
    try:
        data = datasets.load(name, None)
    except Refusal as problem:
        return None, f"No pictures: {problem}"
    return (data, "") if data.sha256 == sha256 else (None, "Other data lie here.")


def png(image: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    """A grey image as a PNG file, dark on light as ink on paper."""
    height, width = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + (255 - row).tobytes() for row in image)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
