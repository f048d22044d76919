"""Opening a decoder: one interface, two implementations.

Belongs here: the interface, and the choice between CPU and GPU. Does not belong here: either decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from video_pipeline.errors import BadInput
from video_pipeline.media.container import Source
from video_pipeline.media.frames import CroppedPicture, Sample
from video_pipeline.media.geometry import CropRegion, PixelCrop
from video_pipeline.media.pictures import DecodeStats
from video_pipeline.media.probe import VideoProbe

Device = Literal["cpu", "cuda", "auto"]

__all__ = ["DecodeStats", "Device", "SampledDecoder", "open_decoder"]


class SampledDecoder(Protocol):
    """One pass over one video. `device` says where it decodes: "cpu" or "cuda"."""

    device: str
    probe: VideoProbe
    crop: PixelCrop
    time_base: Fraction
    stats: DecodeStats

    def samples(self) -> Iterator[Sample]:
        """Every sample in order, once; the list of (index, pts) is the same on every device.

        Raises BadInput where the video turns out to be damaged. Leaving the loop closes the decoder.
        """
        ...

    def pictures(self) -> Iterator[CroppedPicture]:
        """Instead of `samples`: each picture once, with the samples it shows; also those that were asked for
        by `also` and show none."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent."""
        ...


def open_decoder(
    source: Source,
    *,
    name: str,
    crop_region: CropRegion,
    rate: Fraction,
    device: Device = "auto",
    decoder_threads: int | Literal["auto"] = 1,
    also: Callable[[int], bool] = lambda _pts: False,
) -> SampledDecoder:
    """Open `source`, a path or a seekable binary reader (which stays the caller's to close).

    `name` is how errors call the video; `rate` is samples per second. "auto" takes NVDEC if this machine has
    one that decodes this stream, else the CPU; "cuda" insists. `decoder_threads` counts for the CPU only.
    `also` tells by PTS which pictures `pictures()` gives out though no sample shows them.
    Raises BadInput for media that cannot be used and for a crop region that is too small.
    """
    rate = Fraction(rate)
    if rate <= 0:
        raise BadInput(f"the sample rate {rate} is not positive", input=name, what_to_do="use 10, say.")
    if device != "cpu":
        from video_pipeline.media import decode_nvdec

        reason = decode_nvdec.unavailable()
        if reason is None:
            try:
                return decode_nvdec.NvdecDecoder(
                    source, name=name, crop_region=crop_region, rate=rate, also=also
                )
            except decode_nvdec.NotForNvdec as refusal:
                reason = str(refusal)
                if not isinstance(source, str | Path):
                    source.seek(0)
        if device == "cuda":
            raise BadInput(
                f"cannot decode on the GPU: {reason}", input=name, what_to_do='use device "auto" or "cpu".'
            )
    from video_pipeline.media.decode_software import SoftwareDecoder

    return SoftwareDecoder(
        source, name=name, crop_region=crop_region, rate=rate, threads=decoder_threads, also=also
    )
