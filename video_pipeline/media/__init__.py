"""Probing, decoding, encoding and geometry of video. Knows nothing of captions or stores."""
