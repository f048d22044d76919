"""Training of the caption pair network: synthetic captions over real backgrounds, fitting, evaluation.

Nothing here is imported by the product; `python -m video_pipeline.captions.train` is the way in.
"""
