"""Everything that decides a run's bits, and nothing else: the edge of an edition."""
