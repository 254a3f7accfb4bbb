"""The page: draw a digit and watch networks read it, in one HTML file.

build.py joins what the page says (network.py, digits.py, ablation.py) with what it does
(the modules in JavaScript, from main.mjs on).
"""
