"""What a trained network looks at, knows in each layer, and gets wrong.

Every method is a function from a stack of networks, images and a few numbers to a map
or a table; it reads `activations()` and leaves the network as it was.
"""
