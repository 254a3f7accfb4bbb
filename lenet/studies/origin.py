"""Where the runs of a figure come from: what its caption says of them."""

from typing import NamedTuple


class Origin(NamedTuple):
    """What a reader must know of the runs: which are missing or mixed, data, code."""

    missing: str = ""
    data: str = ""
    code: str = ""

    @property
    def lacking(self) -> str:
        """What a reader must act on: runs or seeds that are not there yet."""
        return "; ".join(said for said in self._said if "missing" in said)

    @property
    def _said(self) -> list[str]:
        return [said for said in self.missing.split("; ") if said]

    def __str__(self) -> str:
        other = "; ".join(said for said in self._said if "missing" not in said)
        runs = f"Runs {other}." if other else ""
        data = f"Data: {self.data}." if self.data else ""
        return " ".join(
            filter(None, [runs, data, f"Code: {self.code}." if self.code else ""])
        )


NOWHERE = Origin()
