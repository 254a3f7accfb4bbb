"""The page: draw a digit and watch networks read it, in one HTML file.

build.py joins what the page says (*_data.py) with what it does
(the modules in JavaScript, from main.mjs on).
"""
