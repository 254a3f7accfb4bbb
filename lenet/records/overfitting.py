"""Whether an adversarially trained network resists nothing but what it trained on."""

from collections.abc import Sequence

from lenet.records.record_types import Point

GAP = 0.3  # published runs end at 0.13 and below, or at 0.49 and above (n = 8)


def overfitting(curve: Sequence[Point]) -> int | None:
    """The first epoch, from 1, of catastrophic overfitting (Wong et al., 2020).

    The network has learned to resist the steps that it trains on, and nothing else:
    from there on the PGD error is GAP above the error on the images that it trains on.
    curve: the points of a run. None if it does not end so, or was not attacked.

    >>> curve = [{"train_error": 0.2, "pgd_error": error} for error in (0.3, 0.9, 1.0)]
    >>> overfitting(curve), overfitting(curve[:1])
    (2, None)
    """
    began = None
    for epoch, point in enumerate(curve, 1):
        # It may recover: only what lasts to the end of the curve counts.
        if point.get("pgd_error", 0.0) <= point["train_error"] + GAP:
            began = None
        elif began is None:
            began = epoch
    return began
