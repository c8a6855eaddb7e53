"""The networks of the method as Keras models, and the weights that were published for them."""
