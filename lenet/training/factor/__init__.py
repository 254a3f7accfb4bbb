"""One module per factor, closing with LEVELS: the name of a level > what it does.

A level's label, year and numbers (learning rates among them) stand in its file,
conf/<factor>/<level>.yaml.
"""
