"""Bytes of a remote or local file, read by ranges.

Belongs here: what a source of ranges is (`base.py`) and the sources: HTTP, the object store, a file on disk.
Does not belong here: what the bytes mean (`media.mp4`), which ranges are wanted (`sampling`).
"""
