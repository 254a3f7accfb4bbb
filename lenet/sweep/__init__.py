"""A design of many runs: planned, trained by workers or a cluster, and verified.

* sweep.py: carries out a design; read this first
* design.py: treatments and seeds, from conf/design; forecast.py: how long it takes
* worker.py: the processes that train; worker_count.py: how many
* hydra_launcher.py: a cluster instead
* failures.py: why a run was not trained; progress.py: how far a sweep is, as shown
* verify.py: checks seals and weights, or trains a run again
"""
