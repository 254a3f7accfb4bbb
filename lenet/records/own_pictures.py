"""What a record says of one's own pictures, so that another can be read as they were.

The arrays that are trained on have neither: what the classes are called, which is the
names of their folders, and whether all images were inverted, which one pixel shows.
"""

import string
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lenet.config import Refusal
from lenet.records.record_types import Record

if TYPE_CHECKING:
    import numpy as np

    from lenet.training.data import Data

OWN = ("folder", "idx")  # data sets that data_dir= alone names
NAMES = {  # of classes that are no digits, as their authors call them
    "emnist_letters": tuple(string.ascii_uppercase),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt"),
        *("Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}


class OwnPictures(NamedTuple):
    """The names of the classes, where there are folders, and whether the images were
    inverted, None where that cannot be told."""

    class_names: list[str] | None = None
    inverted: bool | None = None


NONE = OwnPictures()  # of a data set of other people's


def recorded_data(data: "Data", data_dir: str | None) -> OwnPictures:
    """What is to be recorded of a data set that was just read from `data_dir`."""
    if data.name not in OWN or data_dir is None:
        return NONE
    names, given = as_given(data.name, Path(data_dir))
    trained = data.train_images[0].cpu().numpy()
    # The first training image, as it lies there and as it was read, tells which.
    sides = [side for side in (False, True) if ((given ^ 255 * side) == trained).all()]
    inverted = sides[0] if sides else None
    return OwnPictures(names[: data.classes] if names else None, inverted)


def as_given(name: str, root: Path) -> "tuple[list[str] | None, np.ndarray]":
    """The names of the classes, and the first training image as it lies there."""
    from lenet.training import own_data  # with torch, for which a reader need not wait

    if name == "idx":
        path = own_data.needed(root, own_data.FILES[0], name)
        return None, own_data.fitted(own_data.idx(path)[0])
    split = all((root / part).is_dir() for part in ("train", "test"))
    classes = sorted(own_data.subfolders(root / "train" if split else root))
    for folder in classes:
        paths = own_data.picture_files(folder)
        tests = [False] * len(paths) if split else own_data.test_marks(len(paths))
        for path, is_test in zip(paths, tests, strict=True):
            if not is_test:
                return [place.name for place in classes], own_data.as_image(path)
    raise Refusal(f"data=folder: {root} changes while it is read: start again", 3)


def class_names(record: Record) -> tuple[str, ...]:
    """What the classes of a run are called, by their numbers: as recorded, as the data
    set's authors call them, or the numbers themselves, as of digits."""
    if "class_names" in record:
        return tuple(record["class_names"])
    count = int(record.get("classes", 10))
    names = NAMES.get(str(record["treatment"]["data"]), ())
    return names or tuple(map(str, range(count)))
