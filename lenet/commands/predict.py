"""What a trained network reads in a picture: lenet predict seven.png

The digit, or the class by its name, and the runners-up; beside the picture, in
<name>_layers.svg and .png, what every layer saw (of one's own pictures .svg alone: a
.png would become one of them). Any size, dark on light or light on dark; several
pictures at once.
    run=modern       published with lenet (best, modern, paper), the first letters of a
                     run's id in output_dir, or a run's folder
    draw=false       no picture of the layers
    output_dir=outputs
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet.config import Refusal, suggest
from lenet.records.own_pictures import OWN
from lenet.terminal import Said, typed

if TYPE_CHECKING:
    from lenet.interpret.trained_network import Prediction, Trained

KEYS = {"run": "modern", "output_dir": "outputs", "draw": "true"}


def main(arguments: Sequence[str]) -> Said:
    """What is read in each picture that is named."""
    known = {f"{key}=" for key in KEYS}
    names = [
        text for text in arguments if not any(text.startswith(key) for key in known)
    ]
    given = typed([text for text in arguments if text not in names], KEYS)
    if given["draw"] not in ("true", "false"):
        raise Refusal(f"draw={given['draw']}: say draw=true or draw=false")
    for name in names:
        key, sign, _ = name.partition("=")
        if sign and not Path(name).exists():
            raise Refusal(suggest(key, KEYS, "key", "keys"))
    if not names:
        raise Refusal("say which picture: lenet predict seven.png")
    from lenet.interpret import trained_network  # torch: not for what is refused

    net = trained_network.load(given["run"], given["output_dir"])
    lines, pictures = [], []
    for name in names:
        seen = net.predict(name)
        files = draw_layers(net, seen, Path(name)) if given["draw"] == "true" else []
        lines += [f"{name}: {seen}", *map(str, files)]
        pictures.append(prediction_values(name, seen, files))
    return Said("\n".join(lines), {"network": net.name, "pictures": pictures})


def prediction_values(
    name: str, seen: "Prediction", files: Sequence[Path]
) -> dict[str, Any]:
    """A prediction for a program."""
    return {
        "picture": name,
        **({"digit": seen.digit} if seen.name == str(seen.digit) else {}),
        "label": seen.label,
        "name": seen.name,
        "shares": list(seen.shares),
        "files": [str(path) for path in files],
    }


def draw_layers(net: "Trained", seen: "Prediction", picture: Path) -> list[Path]:
    """The files that show what every layer saw, beside the picture."""
    from lenet.figures import interpretation_maps
    from lenet.interpret import overview
    from lenet.report import (
        study_report,  # seconds to import, and not needed without a picture
    )
    from lenet.studies.origin import Origin

    maps = overview.maps(net.model, seen.picture)
    run = f"network {net.name}, run {net.record['run_id']}"
    origin = Origin(data=f"{picture.name}, {run}")
    figure = interpretation_maps.layers(
        maps, seen.picture, seen.label, origin, seen.names
    )
    own = net.record["treatment"]["data"] in OWN  # where a .png is one more picture
    forms = ["svg"] if own else ["svg", "png"]
    return study_report.write_figure(
        figure, picture.with_name(f"{picture.stem}_layers"), forms
    )
