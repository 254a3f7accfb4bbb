"""The test images that most runs get wrong, with their pictures, for the page."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from lenet.config import Refusal
from lenet.records.own_pictures import OWN
from lenet.records.run_record import right_images
from lenet.report.template import filled
from lenet.rounding import decimals
from lenet.studies.study import Study, converged
from lenet.training import data as datasets

WORST = 40  # images shown


def missed_section(study: Study) -> Markup:
    """The test images that most runs get wrong, with how many of the runs do."""
    answered = [record for record in study.records if record["right"]]
    kept = [record for record in answered if converged(record)] or answered
    if not kept:
        said = "No run kept which images it got right."
        return filled("missed", said=said, digits=[])
    wrong = np.zeros(kept[0]["images"])
    for record in kept:
        wrong += ~right_images(record)
    order = np.lexsort((np.arange(len(wrong)), -wrong))[:WORST]
    order = order[wrong[order] > 0]
    pictures, why = images(str(kept[0]["treatment"]["data"]), kept[0]["data"])
    digits = []
    for place in order:
        share = f"{decimals(100 * wrong[place] / len(kept), 0)} %"
        digit = {"share": share, "text": f"test image {place}", "png": ""}
        if pictures is not None:
            digit["text"] += f", a {int(pictures.test_labels[place])}"
            picture = png(pictures.test_images[place].numpy())
            digit["png"] = base64.b64encode(picture).decode()
        digits.append(digit)
    never = int((wrong == 0).sum())
    which = "runs that converge" if len(kept) < len(answered) else "runs"
    said = (
        f"Of {len(wrong):,} test images, {never:,} are read rightly by all {len(kept)} "
        f"{which}. These {len(order)} are missed by the largest share of them, all "
        f"treatments together. {why}"
    )
    return filled("missed", said=said, digits=digits)


def images(name: str, sha256: str) -> tuple[datasets.Data | None, str]:
    """The data set, if it lies here and is the one of the runs; else why it is not."""
    root = Path(os.environ.get("LENET_DATA") or "data")
    if name in OWN:
        return None, "The pictures lie where data_dir= was: none are shown."
    if name in datasets.FOLDERS:  # which would be downloaded
        place = root / datasets.FOLDERS[name] / "raw"
        if not all(datasets.data_file(place, file) for file in datasets.FILES):
            return None, f"{name} is not on this machine: no pictures."
    try:
        data = datasets.load_data(name, None)
    except Refusal as problem:
        return None, f"No pictures: {problem}"
    return (data, "") if data.sha256 == sha256 else (None, "Other data lie here.")


def png(image: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    """A grey image as a PNG file, dark on light as ink on paper."""
    file = io.BytesIO()
    Image.fromarray(255 - image).save(file, "PNG", optimize=True)
    return file.getvalue()
