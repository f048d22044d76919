"""A picture of a found layout: moments with captions, the region drawn in, and every band's score.

Belongs here: drawing. Does not belong here: deciding (`layout`).
"""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from video_pipeline.captions.layout import Layout
from video_pipeline.media.colour import frame_to_rgb

_WIDTH = 480
_GAP = 10
_BARS = 120
_BACKGROUND, _INK, _MARK, _DIM = (24, 24, 27), (228, 228, 231), (250, 204, 21), (113, 113, 122)


def render_preview(layout: Layout) -> bytes:
    """PNG: up to six pictures in two columns, each with the region; beside each row the bands' scores by
    height in the picture; the reasons below. Without examples the reasons alone."""
    pictures = [Image.fromarray(frame_to_rgb(pair.first)) for pair in layout.examples]
    scale = _WIDTH / pictures[0].width if pictures else 1.0
    height = round(pictures[0].height * scale) if pictures else 0
    rows = -(-len(pictures) // 2)
    font = ImageFont.load_default(size=15)
    below = rows * (height + _GAP) + _GAP
    size = (2 * (_WIDTH + _GAP) + _BARS + 2 * _GAP, below + 24 * len(layout.reasons) + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    most = max((band.score for band in layout.bands), default=1.0) or 1.0
    # The one that was taken: of a higher score may be one thing that was called another now and then.
    taken = next((band for band in layout.bands if band.changes), None)
    for index, picture in enumerate(pictures):
        left, top = _GAP + index % 2 * (_WIDTH + _GAP), _GAP + index // 2 * (height + _GAP)
        sheet.paste(picture.resize((_WIDTH, height), Image.Resampling.LANCZOS), (left, top))
        region = layout.region
        box = (
            left + region.left * _WIDTH,
            top + region.top * height,
            left + (region.left + region.width) * _WIDTH - 1,
            top + (region.top + region.height) * height - 1,
        )
        draw.rectangle(box, outline=_MARK, width=2)
        said = f"{layout.examples[index].seconds:.1f} s"
        draw.text((left + 6, top + 4), said, _INK, font, stroke_width=2, stroke_fill=_BACKGROUND)
        if index % 2 == 0:
            bars = _GAP + 2 * (_WIDTH + _GAP)
            for band in layout.bands:
                middle = top + (band.top + band.height / 2) * height
                colour = _MARK if band is taken else _DIM
                draw.line((bars, middle, bars + _BARS * band.score / most, middle), fill=colour, width=3)
    for line, reason in enumerate(layout.reasons):
        draw.text((_GAP, below + 24 * line), reason, _INK, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
