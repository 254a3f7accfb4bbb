"""A design of many runs: planned, trained by workers or a cluster, and verified."""
