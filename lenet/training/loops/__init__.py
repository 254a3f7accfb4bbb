"""The compiled loops: passes over training images, tests and curvature in float32.

    passes.py    plain arrays in, plain arrays out: read this first
    batch.py     a run through its batches, eight images in the lanes of a vector
    single.py    a run through its images one by one, eight maps or units in the lanes
    tiles.py     forward and back for groups of eight images, and what is handed on
    norm.py      batch norm; attacked_images.py; second_derivatives.py: h
    evaluate.py  what a run answers; input_image.py: what it sees; input_slope.py: how
                 its scores change with each pixel
    muon.py      an optimizer's step on whole matrices
    maps.py      the inner loops of C1 to S4; dense.py: those of C5 to the output
    llvm.py      the language that those are written in; cache.py: what is kept on disk
    sizes.py     how large the layers are

The formulas of activations, poolings, heads and optimizers stand in training/factor/.
"""
