"""Sampling: predictions for chosen frames of remote videos, reading little more than those frames need.

Belongs here: which frames are wanted, which bytes they need, batches, results and reports. Does not belong
here: MP4 (`media.mp4`), ranges (`media.ranges`), decoders (`media`), the network (`models`).
"""
