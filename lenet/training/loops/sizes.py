"""How large the layers are (paper, p. 7 and 8), as the loops count.

SIDE is a row of a map, SIZE a map, ALL the maps of a layer. Where a layer's units or
classes are read in whole vectors, its ROW is the next multiple of eight.
"""

PICTURE_SIDE, EDGE = 28, 2  # EDGE: the border of background
SIDE = EDGE + PICTURE_SIDE + EDGE  # of the padded image
PICTURE_SIZE, IMAGE_SIZE = PICTURE_SIDE * PICTURE_SIDE, SIDE * SIDE
KERNEL = 5  # the side of a kernel of C1 and C3
TAPS = KERNEL * KERNEL  # its numbers

C1_MAPS, C1_SIDE = 6, 28
C1_SIZE = C1_SIDE * C1_SIDE
C1_ALL = C1_MAPS * C1_SIZE
S2_SIDE = C1_SIDE // 2
S2_SIZE = S2_SIDE * S2_SIDE
S2_ALL = C1_MAPS * S2_SIZE
C3_MAPS, C3_SIDE = 16, 10
C3_SIZE = C3_SIDE * C3_SIDE
C3_ALL = C3_MAPS * C3_SIZE
S4_SIDE = C3_SIDE // 2
S4_SIZE = S4_SIDE * S4_SIDE
S4_ALL = C3_MAPS * S4_SIZE
NORMED_MAPS = C1_MAPS + C3_MAPS  # those with statistics, C1's first

C5_UNITS, F6_UNITS, CLASSES = 120, 84, 10
F6_ROW, CLASS_ROW = 88, 16
DROPPED_UNITS = C5_UNITS + F6_UNITS  # those that dropout has a factor for
C5_BLOCKS, F6_BLOCKS = 20, 21  # what threads share out of their weights
C5_SHARE, F6_SHARE = C5_UNITS // C5_BLOCKS, F6_UNITS // F6_BLOCKS  # outputs of a block
