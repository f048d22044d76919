"""Results of sampling runs as a real run would give them, with their requests, made without media.

Belongs here: what tests of reports and tracking read. Does not belong here: expectations.
"""

from __future__ import annotations

import random

from video_pipeline.media.ranges.base import RequestRecord
from video_pipeline.models.classifier_spec import ClassScore, Prediction
from video_pipeline.sampling.fetch import shares
from video_pipeline.sampling.request import FrameError, FrameRow, RunInferenceResult, VideoRow

MISSING = FrameError(
    kind="bad_input",
    message="the server answers 404 Not Found",
    input="https://videos.example/missing.mp4",
    what_to_do="check the address",
)


def url_of(number: int) -> str:
    return f"https://videos.example/{number:04d}-a-walk-in-the-park.mp4"


def video_requests(number: int, frames: int, *, size: int = 40_000_000) -> list[RequestRecord]:
    """A tail of 64 KB that failed once, the index, then one span of media for each frame."""
    chance = random.Random(number)
    began = 100.0 + number * 0.01
    records = [
        RequestRecord(
            size - 65_536, size, "index", 1_000, 210, began, began + 0.03, 1, 503, "503 from the server"
        ),
        RequestRecord(size - 65_536, size, "index", 65_536, 210, began + 0.03, began + 0.07, 2, 206),
        RequestRecord(0, 4_096, "index", 4_096, 200, began + 0.07, began + 0.09, 1, 206),
    ]
    for _ in range(frames):
        start = chance.randrange(4_096, size - 400_000)
        length = chance.randrange(30_000, 220_000)
        began = records[-1].ended
        records.append(
            RequestRecord(
                start, start + length, "media", length, 205, began, began + chance.random() / 10, 1, 206
            )
        )
    return records


def made_result(
    videos: int = 2, frames: int = 3, *, failed_videos: int = 0, with_png: bool = False
) -> tuple[RunInferenceResult, dict[str, list[RequestRecord]]]:
    """`videos` videos with `frames` frames each; the last `failed_videos` of them failed."""
    rows: list[FrameRow] = []
    told: list[VideoRow] = []
    requests: dict[str, list[RequestRecord]] = {}
    chance = random.Random(7)
    for number in range(videos):
        url = url_of(number)
        if number >= videos - failed_videos:
            records = [RequestRecord(0, 65_536, "index", 312, 200, 100.0, 100.02, 1, 404, "404 Not Found")]
            requests[url] = records
            told.append(VideoRow(url=url, requests=1, index_bytes=312, error=MISSING))
            split = shares(312, [1] * frames)
            rows += [
                FrameRow(
                    batch=n, video=number, frame=0, url=url, delivered=False, error=MISSING,
                    requests=int(n == 0), index_bytes=split[n],
                )
                for n in range(frames)
            ]  # fmt: skip
            continue
        records = requests[url] = video_requests(number, frames)
        index = sum(record.received for record in records if record.purpose == "index")
        media = [record.received for record in records if record.purpose == "media"]
        for n, (fetched, shared) in enumerate(zip(media, shares(index, [1] * frames), strict=True)):
            useful = int(fetched * chance.uniform(0.6, 1.0))
            seconds = round(chance.uniform(0, 10), 3)
            scores = sorted((chance.random() for _ in range(2)), reverse=True)
            rows.append(
                FrameRow(
                    batch=n,
                    video=number,
                    frame=0,
                    url=url,
                    requested_seconds=seconds,
                    delivered=True,
                    seconds=int(seconds * 25) / 25,
                    pts=int(seconds * 25) * 512,
                    time_base="1/12800",
                    frame_index=int(seconds * 25),
                    width=1920,
                    height=1080,
                    decoder="pyav",
                    prediction=Prediction(
                        top=tuple(
                            ClassScore(label=label, index=index, confidence=score)
                            for index, (label, score) in enumerate(
                                zip(("street sign", "park bench"), scores, strict=True)
                            )
                        )
                    ),
                    png_key=f"demo/samples/made/frames/{n}-{number}-0.png" if with_png else None,
                    requests=4 if n == 0 else 1,
                    index_bytes=shared,
                    media_bytes=fetched,
                    useful_bytes=useful,
                    minimum_bytes=useful,
                    pictures_decoded=1 + n % 12,
                )
            )
        mine = rows[-frames:]
        told.append(
            VideoRow(
                url=url,
                index_kind="mp4",
                codec="h264",
                requests=len(records),
                index_bytes=index,
                media_bytes=sum(media),
                useful_bytes=sum(row.useful_bytes for row in mine),
                retries=1,
                decoder="pyav",
                decoder_reason="no NVIDIA GPU",
            )
        )
    rows.sort(key=lambda row: (row.batch, row.video, row.frame))
    delivered = [row for row in rows if row.delivered]
    upstream = sum(record.received for records in requests.values() for record in records)
    downstream = sum(row.useful_bytes for row in rows)
    return (
        RunInferenceResult(
            platform="cpu",
            device="cpu",
            gpu_name=None,
            cuda_version=None,
            torch_version="2.13.0+cpu",
            decoder="pyav",
            model="efficientnet_lite0",
            model_sha256="ab" * 32,
            requested=len(rows),
            delivered=len(delivered),
            failed=len(rows) - len(delivered),
            top_classes=tuple(row.prediction.label for row in delivered if row.prediction),
            confidences=tuple(row.prediction.confidence for row in delivered if row.prediction),
            selected_timestamps_seconds=tuple(row.seconds for row in delivered if row.seconds is not None),
            model_load_time_seconds=0.4,
            frame_extraction_time_seconds=1.25,
            preprocess_time_seconds=0.05,
            inference_time_seconds=0.3,
            total_pipeline_time_seconds=1.5,
            bandwidth_total_upstream_bytes=upstream,
            bandwidth_total_downstream_bytes=downstream,
            bandwidth_total_upstream_mb=upstream / 1e6,
            bandwidth_total_downstream_mb=downstream / 1e6,
            bandwidth_num_proxy_requests=sum(len(records) for records in requests.values()),
            index_bytes=sum(row.index_bytes for row in rows),
            media_bytes=sum(row.media_bytes for row in rows),
            useful_bytes=downstream,
            minimum_bytes=sum(row.minimum_bytes for row in rows),
            index_cache_hits=0,
            pictures_decoded=sum(row.pictures_decoded for row in rows),
            frames=tuple(rows),
            videos=tuple(told),
            frame_png_keys=tuple(row.png_key for row in delivered if row.png_key),
        ),
        requests,
    )
