"""Put trained networks into the package, so that lenet.load finds them by a name.

python scripts/publish_weights.py modern=3a1316ef paper=74714c84
    a name and the first letters of a run's id, each; output_dir=outputs has the runs,
    or studies that publish their weights
"""

import sys

from lenet.config import SAFE, Refusal
from lenet.interpret import trained_network
from lenet.records import store
from lenet.terminal import command, pair, say


def main() -> None:
    """The entry point."""
    given = dict(map(pair, sys.argv[1:]))
    output_dir = given.pop("output_dir", "outputs")
    if not given:
        raise Refusal("name what to publish, <name>=<the start of a run id>")
    for name, run in given.items():
        if not set(name) <= set(SAFE):
            raise Refusal(f"{name}={run}: write <name>=<the start of a run id>")
        record = store.select(run, output_dir)
        for path in trained_network.publish_network(
            name, record, store.weights(output_dir, record)
        ):
            say(str(path))


if __name__ == "__main__":
    command(main)
