"""Finished clips: trimmed, joined, sped up, highlighted, reframed and annotated videos, each checked.

Belongs here: what a clip request means, its timeline, the picture transforms and the render. Does not belong
here: reading and writing media files (`media`), captions, where the work runs (`compute`).
"""
