"""What a run keeps of a function that builds an experiment: a text, and tensors that it uses."""
