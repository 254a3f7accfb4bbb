"""One module per factor, closing with LEVELS: the name of a level > what it does.

* input.py, augmentation.py, mix.py, order.py: the images
* connection.py, activation.py, pooling.py, norm.py, init.py: the network
* head.py: the output and its loss; teacher.py, adversary.py: what changes the loss
* optimizer.py, schedule.py, average.py: the weights

A level's label, year and numbers (learning rates among them) stand in its file,
conf/<factor>/<level>.yaml.
"""
