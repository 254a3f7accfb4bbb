"""Runs that may be compared, the effects that they show, and how sure those are.

* study.py: the runs of a study and its factors; read this first
* effect.py: effects, verdicts and lost runs; statistics.py: the tests and intervals
* corrected_labels.py: errors once wrong test labels are corrected
* origin.py: what a caption says of runs
* own_runs.py, own_study.py: the same for anybody's table of runs
"""
