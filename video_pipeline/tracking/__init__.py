"""Following runs over time in Weights & Biases.

Belongs here: what is tracked, where, and in which process. Does not belong here: measuring (`telemetry`),
results (`sampling`).
"""
