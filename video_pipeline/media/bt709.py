"""Decoded pictures as the clip suite wants them: whole, upright, 8-bit 4:2:0, BT.709 in limited range.

Belongs here: the conversion by swscale, and what is said about it. Does not belong here: decoding, RGB for
looking at (`colour`), crops that keep the source's own values (`planes`).

The matrix and the range are converted (ITU-T H.273, 8.3); primaries and transfer function are not, as players
leave them between BT.601 and BT.709. Where that shows (BT.2020 primaries, PQ, HLG) a note says so.
"""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from video_pipeline.media.colour import effective_matrix, is_full_range
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.geometry import CodedCrop, Orientation
from video_pipeline.media.planes import PlaneCropper, colour_tags

BT709 = ColourTags(primaries=1, transfer=1, matrix=1, range=1)
"""The tags of every picture of the clip suite."""

_MATRIX_NAMES = {
    4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 1: "BT.709",
}  # fmt: skip
_SWSCALE_MATRIX = {
    1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M, 9: Colorspace.BT2020,
}  # fmt: skip
_BT2020_PRIMARIES = 9
_TRANSFER_NAMES = {16: "PQ (HDR10)", 18: "HLG"}
_EXACT = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
)
"""Chroma of BT.601 goes through RGB, so it is interpolated; bicubic keeps edges. With chroma at full width
luma is 0.04 of 255 off on average; without it is 1.1 too dark. Where a picture must be converted at all, this
takes 30 ms at 1080p, and not 16."""


class Bt709Converter:
    """Turns the decoded pictures of one stream into `CroppedFrame`s tagged BT.709, limited range.

    A picture that is BT.709 4:2:0 in limited range already keeps its values, and so does gray of that range.
    `width` and `height` are the even part of the displayed size, in pixels.
    """

    def __init__(self, orientation: Orientation, coded_width: int, coded_height: int) -> None:
        crop = CodedCrop(0, 0, coded_width // 2 * 2, coded_height // 2 * 2)
        self._cropper = PlaneCropper(crop, orientation, borrow=True)
        self._reformatter = VideoReformatter()
        self.width, self.height = orientation.display_size(crop.width, crop.height)

    def convert(self, picture: av.VideoFrame) -> CroppedFrame:
        """The whole displayed picture: y (H, W), u and v (H/2, W/2), uint8, to be read only; an upright
        one lies in libav's memory, with its strides."""
        cut = self._cropper.cut(self._in_bt709(picture))
        return CroppedFrame(cut.y, cut.u, cut.v, BT709)

    def _in_bt709(self, picture: av.VideoFrame) -> av.VideoFrame:
        if _is_rgb(picture):
            return picture  # PlaneCropper makes limited BT.709 of RGB
        matrix, full = _matrix(picture), is_full_range(colour_tags(picture))
        if matrix == BT709.matrix and not full:
            return picture
        return self._reformatter.reformat(
            picture,
            format="yuv420p",
            src_colorspace=_SWSCALE_MATRIX[matrix],
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=_EXACT,
            threads=1,
        )


def _is_rgb(picture: av.VideoFrame) -> bool:
    return picture.format.is_rgb or picture.format.has_palette


def _matrix(picture: av.VideoFrame) -> int:
    """Gray is the same in every matrix. It must not come to swscale for one: that takes gray for full range,
    whatever it is told, and black of 16 became 30."""
    if picture.format.name.startswith(("gray", "ya")):
        return BT709.matrix
    return effective_matrix(colour_tags(picture), picture.width)


def conversion_notes(picture: av.VideoFrame, pixel_shape: Fraction | None) -> tuple[str, ...]:
    """What becomes of pictures like `picture` besides keeping their values; empty if nothing does.

    `pixel_shape`: width over height of a pixel as the stream states it, None if it does not.
    """
    notes: list[str] = []
    tags = colour_tags(picture)
    if _is_rgb(picture):
        notes.append("converted from RGB")
    else:
        matrix = _matrix(picture)
        if matrix != BT709.matrix:
            untagged = "" if matrix == tags.matrix else " (assumed by its size: it is not tagged)"
            notes.append(f"converted from {_MATRIX_NAMES[matrix]}{untagged}")
        if is_full_range(tags):
            notes.append("converted from full range")
    bits = max(component.bits for component in picture.format.components)
    if bits > 8:
        notes.append(f"reduced from {bits} to 8 bits")
    if tags.transfer in _TRANSFER_NAMES:
        notes.append(f"{_TRANSFER_NAMES[tags.transfer]} is not tone-mapped")
    if tags.primaries == _BT2020_PRIMARIES:
        notes.append("BT.2020 primaries are not converted")
    if picture.width % 2:
        notes.append("odd last column left out")
    if picture.height % 2:
        notes.append("odd last row left out")
    if picture.interlaced_frame:
        notes.append("interlaced pictures are not de-interlaced")
    if pixel_shape is not None and pixel_shape != 1 and pixel_shape > 0:
        notes.append(f"pixels of shape {pixel_shape.numerator}:{pixel_shape.denominator} are taken as square")
    return tuple(notes)
