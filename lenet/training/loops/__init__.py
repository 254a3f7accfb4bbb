"""The compiled loops: passes over training images, tests and curvature in float32.

Read passes.py first (plain arrays in, plain arrays out), then batch.py and single.py
(a pass, image by image), then maps.py and dense.py (the inner loops), and llvm.py last
(the language that those are written in).
"""
