"""What the file system's errors mean to this project, and what a reader can do about each.

Belongs here: the mapping to `BadInput` and `Transient`. Does not belong here: any file.
"""

from __future__ import annotations

import errno

from video_pipeline.errors import BadInput, PipelineError, Transient


def translate(error: OSError, name: str) -> PipelineError:
    """The project's error for one of the file system's; `name` is the object's, with its store."""
    where = name if error.filename is None else str(error.filename)
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR):
        return BadInput(
            f"the key cannot be a file name here: {error.strerror}",
            input=name,
            what_to_do="use shorter names, and no links that go in circles",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadInput(
            f"the file system does not let this user do that: {error.strerror}",
            input=where,
            what_to_do="correct the permissions, or set VIDEO_PIPELINE_STORE to another directory",
        )
    if error.errno == errno.EXDEV:
        return BadInput(
            "this folder of the store lies in another file system, where nothing can be renamed to",
            input=name,
            what_to_do="keep the whole store's directory in one file system",
        )
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return Transient(
        f"the disk did not do it: {error.strerror or error}",
        input=where,
        what_to_do="free some space" if full else "look at the disk, then run it again",
    )
