"""Where the runs of a figure come from: what its caption says of them."""

from typing import NamedTuple


class Origin(NamedTuple):
    """What a figure's reader must know of the runs: which are missing, data, code."""

    missing: str = ""
    data: str = ""
    code: str = ""

    def __str__(self) -> str:
        data = f"Data: {self.data}." if self.data else ""
        return " ".join(
            filter(None, [data, f"Code: {self.code}." if self.code else ""])
        )


NOWHERE = Origin()
