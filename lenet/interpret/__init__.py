"""What a trained network looks at, knows in each layer, and gets wrong.

Every method is a function from a stack of networks, images and a few numbers to a map
or a table; it reads `activations()` and leaves the network as it was.

* analysis.py: all methods on one run; read this first
* saliency.py, gradcam.py: maps of an image; sanity.py: whether they say something
* probe.py, sae.py: what a layer holds; overview.py: answers and maps
* robustness.py: accuracy under attack, by apgd.py through compiled_network.py;
  smallest_radii.py: how near an image lies to another answer
* adversarial.py: one attack, from Python
* trained_network.py: a network as an object; drawing.py: a photograph as MNIST has it
* layer_outputs.py, images.py: what all of them ask of networks and of images
"""
