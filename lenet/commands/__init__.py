"""The commands: each module is one verb of `lenet`, and the code of its script.

A module's docstring is its help; `main(arguments)` does what was typed.
"""
