"""Which maps of S2 feed each of the 16 maps of C3 (paper, Table I, p. 8)."""

TABLE_I = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

LEVELS: dict[str, tuple[tuple[int, ...], ...]] = {
    "table": TABLE_I,
    "full": (tuple(range(6)),) * 16,
}
