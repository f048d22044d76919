"""Following runs over time in Weights & Biases."""
