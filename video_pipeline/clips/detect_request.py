"""What one asks of `detect_players` and `detect_players_batch` and what they answer: JSON on the wire.

Belongs here: requests, results, how a moment is written. Does not belong here: media, torch. Pure pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from video_pipeline.clips.request_base import ClipTask, exact
from video_pipeline.clips.result import RenderPrediction
from video_pipeline.models.shipped import DETECTOR_WEIGHTS, shipped_sha256
from video_pipeline.strict import StrictModel, fraction_of

MAX_FRAMES = 20_000
"""Of one call. Each costs about 300 bytes of the result and 200 for each person in it."""

MAX_DRAWN = 2_000
"""Pictures drawn by one call: of 1920x1080, each takes 3 MB of the store."""

_CLOCK = re.compile(r"(?:(?:(\d{1,3}):)?([0-5]?\d):(?=[0-5]?\d(?!\d)))?(\d{1,6}(?:\.\d{1,9})?)")
"""Behind minutes stand less than 60 seconds: 1:75 is a slip, and which one nobody knows."""
_FRACTION = re.compile(r"\d{1,18}/[1-9]\d{0,17}")


def moment(value: float | str) -> Fraction:
    """Seconds of the source as the number that was written: 12.5, "12.5", "1:02.5", "1:00:02.5" or the
    fraction "1001/30". ValueError for anything else and for times before 0."""
    if not isinstance(value, str):
        if not 0 <= value <= 1e6:
            raise ValueError(f"{value} s is not between 0 and a million seconds")
        return exact(value)
    if _FRACTION.fullmatch(value):
        return Fraction(value)
    clock = _CLOCK.fullmatch(value)
    if clock is None:
        raise ValueError(f'{value!r} is no time: write 12.5, "1:02.5", "1:00:02.5" or "1001/30"')
    hours, minutes, seconds = (Fraction(part or 0) for part in clock.groups())
    return 3600 * hours + 60 * minutes + seconds


def _moment(value: float | str) -> float | str:
    moment(value)
    return value


def _rate(text: str) -> str:
    try:
        rate = fraction_of(text)
    except ValueError:
        rate = Fraction(0)
    if not 0 < rate <= 240:
        raise ValueError(f"{text[:40]!r} is no rate: write pictures per second as 2 or 1/2, up to 240")
    return str(rate)


Moment = Annotated[float | str, AfterValidator(_moment)]
DetectionRate = Annotated[str, AfterValidator(_rate)]
"""Pictures per second as a fraction: "2", or "1/10" for one in ten seconds."""


def check_chosen(timestamps: Sequence[object] | None, rate: str | None, *, draw: bool) -> None:
    """ValueError for both ways to choose pictures, and for more than are drawn."""
    if timestamps is not None and rate is not None:
        raise ValueError("give either timestamps or a rate")
    if draw and len(timestamps or ()) > MAX_DRAWN:
        raise ValueError(f"no more than {MAX_DRAWN} pictures are drawn: say draw=false, or ask for fewer")


class Detecting(ClipTask):
    """What both tasks take. `classes` are names of COCO's 80 classes. With `draw`, each picture is stored as
    PNG with its boxes. `weights_key` names detector weights of one's own in the store."""

    source_key: str
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    classes: tuple[str, ...] = Field(default=("person",), min_length=1, max_length=80)
    weights_key: str | None = None
    draw: bool = True

    def shipped_inputs(self) -> dict[str, str]:
        """The shipped network by its hash, unless the request names its own."""
        return {} if self.weights_key is not None else {"detector": shipped_sha256(DETECTOR_WEIGHTS)}

    def input_keys(self) -> dict[str, str]:
        named = {"source": self.source_key, "weights": self.weights_key}
        return {name: key for name, key in named.items() if key is not None}


class DetectPlayersRequest(Detecting):
    """Who is in the picture shown at `time`, in seconds of the source's timeline."""

    time: Moment


class DetectPlayersBatchRequest(Detecting):
    """Who is in the pictures shown at `timestamps`, or at `start` + k / `rate` for k = 0, 1, … before `stop`
    (the beginning and the end of the video, if not given). With `preview`, people are looked for in that many
    of them, spread evenly, which are drawn: the answer says how many there are in all, and what they would
    cost."""

    timestamps: tuple[Moment, ...] | None = Field(default=None, min_length=1, max_length=MAX_FRAMES)
    rate: DetectionRate | None = None
    start: Moment | None = None
    stop: Moment | None = None
    preview: int | None = Field(default=None, ge=1, le=64)

    @model_validator(mode="after")
    def _says_which_pictures(self) -> DetectPlayersBatchRequest:
        check_chosen(self.timestamps, self.rate, draw=self.draw)
        if self.timestamps is None and self.rate is None:
            raise ValueError("give either timestamps or a rate")
        if self.rate is None and (self.start is not None or self.stop is not None):
            raise ValueError("start and stop belong to a rate: timestamps say it all")
        if self.start is not None and self.stop is not None and moment(self.stop) <= moment(self.start):
            raise ValueError(f"it stops at {self.stop}, not after it starts at {self.start}")
        return self


class PlayerBox(StrictModel):
    """A box in pixels of the displayed picture, from its left and top edge; its centre; how sure it is."""

    x: float
    y: float
    width: float
    height: float
    centre_x: float
    centre_y: float
    confidence: float
    class_name: str


class DetectedFrame(StrictModel):
    """What is in the picture shown at `asked_seconds`: `seconds` is when that picture appears, `pts` the same
    in ticks of the result's `time_base`. Detections stand in order of confidence, the surest first."""

    asked_seconds: float
    seconds: float
    pts: int
    width: int
    height: int
    detections: tuple[PlayerBox, ...]
    picture_key: str | None = None


class DetectPlayersResult(StrictModel):
    """The answer of both tasks, and with it the JSON at `detections_key`.

    `frames` stand in the order asked for, one for each moment; moments at which one picture is shown have
    equal rows. `detected_pictures` went through the network. `made` is false where the same was there
    already. `degraded` lists what was done other than asked, `notes` what was done to the pictures.
    """

    kind: str
    recipe: str
    source_key: str
    time_base: str
    """Seconds of a tick of `pts`, as a fraction."""

    frames: tuple[DetectedFrame, ...]
    detected_pictures: int
    detections: int
    """In all pictures together, each counted once."""

    pictures_without: int
    """Pictures in which nothing was found."""

    min_confidence: float
    classes: tuple[str, ...]
    model: str
    model_sha256: str
    device: str
    detections_key: str
    picture_keys: tuple[str, ...] = ()
    preview_of: int | None = None
    """Of a preview, how many moments are asked for in all."""

    prediction: RenderPrediction | None = None
    not_foretold: str | None = None
    """Of a preview, what all of it would take and cost, and why that is not foretold (see `RenderResult`)."""

    made: bool = True
    seconds_taken: float
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()

    def output_keys(self) -> list[str]:
        return [self.detections_key, *self.picture_keys]
