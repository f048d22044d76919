"""Videos in object storage become captions, frame predictions and finished clips.

Nothing is imported here: `import video_pipeline` must stay free of torch, av, modal and Dagster.
"""

__version__ = "0.1.0"
