"""YUV to RGB by the tags a picture carries, for pictures that people look at.

Belongs here: the matrices of ITU-T H.273 and the two ranges, in numpy. Does not belong here: conversions
inside a video path (none: crops stay YUV from decoder to encoder), scaling, transfer functions.
"""

from __future__ import annotations

import numpy as np

from video_pipeline.media.frames import ColourTags, CroppedFrame

LUMA_WEIGHTS = {  # matrix code point: (Kr, Kb), ITU-T H.273 (07/2021), table 4
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601 with 625 lines
    6: (0.299, 0.114),  # BT.601 with 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
}
_BT709, _BT601 = 1, 6
_FULL_RANGE = 2
_WIDEST_SD = 720


def effective_matrix(tags: ColourTags, width: int) -> int:
    """The matrix to read a picture with: its tag, and for no or a rare tag BT.601 or BT.709 by its width.

    A crop wider than 720 pixels cannot come from standard definition; a narrower one may, as players assume.
    """
    if tags.matrix in LUMA_WEIGHTS:
        return tags.matrix
    return _BT709 if width > _WIDEST_SD else _BT601


def yuv_to_rgb(y: np.ndarray, u: np.ndarray, v: np.ndarray, *, matrix: int, full_range: bool) -> np.ndarray:
    """8-bit RGB (H, W, 3) of planes of one size (H, W), uint8; H.273 section 8.3, rounded and clipped.

    `matrix` is a code point of `effective_matrix`. An untagged range means limited (16..235).
    """
    kr, kb = LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    black, luma_span, chroma_span = (0, 255, 255) if full_range else (16, 219, 224)
    luma = (y.astype(np.float32) - black) * (255 / luma_span)
    cb = (u.astype(np.float32) - 128) * (255 / chroma_span)
    cr = (v.astype(np.float32) - 128) * (255 / chroma_span)
    red = luma + 2 * (1 - kr) * cr
    blue = luma + 2 * (1 - kb) * cb
    green = luma - (2 * (1 - kr) * kr / kg) * cr - (2 * (1 - kb) * kb / kg) * cb
    return np.clip(np.stack((red, green, blue), axis=-1) + 0.5, 0, 255).astype(np.uint8)


def frame_to_rgb(frame: CroppedFrame) -> np.ndarray:
    """A cropped frame as 8-bit RGB (H, W, 3) by its tags. Chroma is repeated, which is enough for reading
    text and for looking; nothing that is encoded again goes through here."""
    u, v = (plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (frame.u, frame.v))
    matrix = effective_matrix(frame.tags, frame.width)
    return yuv_to_rgb(frame.y, u, v, matrix=matrix, full_range=is_full_range(frame.tags))


def is_full_range(tags: ColourTags) -> bool:
    return tags.range == _FULL_RANGE
