"""One module per factor, closing with LEVELS: the name of a level > what it does."""
