"""Every figure: from a table, in inches, on canvas.py."""
