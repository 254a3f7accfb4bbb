"""Runs that may be compared, the effects that they show, and how sure those are."""
