"""What is known of a data set without reading it: files, hashes, number of images."""

import hashlib
from dataclasses import dataclass

FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
TRAINING = {  # images; of one's own nobody knows
    "digits": 1297,
    **dict.fromkeys((*FOLDERS, "qmnist"), 60_000),
    **{"emnist_digits": 240_000, "emnist_letters": 124_800},
}
CLASSES = {  # of each data set but one's own
    **dict.fromkeys(("digits", *FOLDERS, "qmnist", "emnist_digits"), 10),
    "emnist_letters": 26,
}
MOST_CLASSES = 200  # an answer is a byte of the record
# MD5 of QMNIST's .gz files as published (torchvision/datasets/mnist.py).
MD5 = {
    "qmnist-train-images-idx3-ubyte": "ed72d4157d28c017586c42bc6afe6370",
    "qmnist-train-labels-idx2-int": "0058f8dd561b90ffdd0f734c6a30e5e4",
    "qmnist-test-images-idx3-ubyte": "1394631089c404de565df7b7aeaf9412",
    "qmnist-test-labels-idx2-int": "5b5b05890a5e13444e108efe57b788aa",
}
# SHA-256 of MNIST's decoded arrays (the file without its header); of the .gz file as
# published for the others (torchvision/prototype/datasets/_builtin/mnist.py, 2022).
SHA256 = {
    "mnist": (
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
    "fashion_mnist": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "kmnist": (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
}
DIGITS_SHA256 = "685c5accf5611a2d31cc83d727ed77af219f4027e233ddf13a8d98bbe385fcee"


@dataclass(frozen=True)
class Known:
    """A data set by its name and by what identifies it."""

    name: str
    sha256: str


def known(name: str) -> Known | None:
    """What identifies a data set, as lenet.training.data would compute it from its
    arrays; None where no hash of those is known."""
    if name == "digits":
        return Known(name, DIGITS_SHA256)
    if name == "mnist":
        return Known(name, hashlib.sha256("".join(SHA256[name]).encode()).hexdigest())
    return None
