"""The index of an MP4 file's video track, read from few bytes.

Belongs here: boxes of ISO/IEC 14496-12, sample tables, fragments, and how to find them by range reads.
Does not belong here: fetching coded pictures (`sampling`), decoding, where bytes come from (`media.ranges`).
"""
