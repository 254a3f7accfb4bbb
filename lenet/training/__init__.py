"""Everything that decides a run's bits, and nothing else: the edge of an edition.

* stack.py: the training loop, of runs trained as one program; read this first
* recipe.py: what those runs are to do, and all that they draw
* model.py: the network; factor/: the levels of each factor
* compiled.py: the same loop through the compiled ones of loops/
* curvature.py: the second derivatives that the step sizes of 1998 are made of
* data.py: data sets, verified; own_data.py: those of anybody's files
* draws.py: random numbers by key; portable_functions.py: the same bits everywhere
* attack.py: adversarial images, to learn from and to be tested by
* edition.py: which bits a run has, and the proof that this code has them
* user_cache.py: where compiled code and proofs are kept
"""
