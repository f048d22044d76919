"""Spotlights against the formulas in float64, and where they start, end and change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_pipeline.clips import spotlight
from video_pipeline.clips.interpolation import Curve
from video_pipeline.clips.spotlight import Effect, Spotlight, SpotlightRegion
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.tasks import find_task

TAGS = ColourTags(1, 1, 1, 1)
LATE = Fraction(99)
CHANGING: tuple[Effect, ...] = ("dark_overlay", "brightness_boost")


def noise(width: int, height: int, seed: int = 0) -> CroppedFrame:
    """Every value, beyond the limits of the range too."""
    random = np.random.default_rng(seed)
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    y, u, v = (random.integers(0, 256, size, dtype=np.uint8) for size in sizes)
    return CroppedFrame(y, u, v, TAGS)


def flat(width: int, height: int, luma: int = 200, cb: int = 90, cr: int = 170) -> CroppedFrame:
    return CroppedFrame(
        np.full((height, width), luma, np.uint8),
        np.full((height // 2, width // 2), cb, np.uint8),
        np.full((height // 2, width // 2), cr, np.uint8),
        TAGS,
    )


def still(
    x: float, y: float, radius_x: float, radius_y: float, opacity: float = 1.0, end: Fraction = LATE
) -> SpotlightRegion:
    return SpotlightRegion(Fraction(0), end, [Fraction(0)], np.array([[x, y, radius_x, radius_y, opacity]]))


def test_only_the_region_is_computed_by_distance_and_no_gpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest of a picture goes through a table of 256 levels: 1.9 ms a 1080p picture, and 22.6 without."""
    boxes: list[tuple[int, int]] = []
    weights = spotlight._Light.weights

    def watched(light: spotlight._Light, table: np.ndarray, box: spotlight.Box) -> np.ndarray:
        boxes.append((box.right - box.left, box.bottom - box.top))
        return weights(light, table, box)

    monkeypatch.setattr(spotlight._Light, "weights", watched)
    lit = Spotlight([still(400, 200, 50, 30)], width=1920, height=1080, feather=0.2)
    lit.apply(noise(1920, 1080), Fraction(0))
    assert boxes
    assert all(120 <= width <= 124 and 72 <= height <= 76 for width, height in boxes)
    assert find_task("render_overlay").hardware.gpu is None


@dataclass(frozen=True)
class Ellipse:
    """A region at one moment, for the reference."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    amount: float


def reference_light(ellipse: Ellipse, width: int, height: int, feather: float) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    radius_x, radius_y = max(ellipse.radius_x, 0.5), max(ellipse.radius_y, 0.5)
    edge = max(feather, 1 / max(radius_x, radius_y))
    d = np.hypot((x - ellipse.x) / radius_x, (y - ellipse.y) / radius_y)
    e = np.clip((d - 1) / edge, 0, 1)
    return ellipse.amount * (1 - e**2 * (3 - 2 * e))


def reference(
    frame: CroppedFrame, ellipses: list[Ellipse], effect: Effect, strength: float, feather: float
) -> CroppedFrame:
    """The module's formulas, whole picture, float64, rounded once."""
    lights = [reference_light(ellipse, frame.width, frame.height, feather) for ellipse in ellipses]
    light = np.max(lights, axis=0)
    amount = max(ellipse.amount for ellipse in ellipses)
    half = light.reshape(frame.height // 2, 2, frame.width // 2, 2).mean(axis=(1, 3))

    def changed(plane: np.ndarray, light: np.ndarray, zero: int, low: int, high: int) -> np.ndarray:
        value = plane.astype(np.float64)
        if effect == "dark_overlay":
            value = zero + (value - zero) * (1 - strength * (amount - light))
        else:
            away = value - zero if zero == 128 else np.maximum(value - zero, 0)
            value = np.clip(value + away * strength * light, np.minimum(value, low), np.maximum(value, high))
        return np.floor(value + 0.5).astype(np.uint8)

    return CroppedFrame(
        changed(frame.y, light, 16, 16, 235),
        changed(frame.u, half, 128, 16, 240),
        changed(frame.v, half, 128, 16, 240),
        frame.tags,
    )


def difference(one: CroppedFrame, other: CroppedFrame) -> int:
    pairs = ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    return max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in pairs)


@st.composite
def ellipses(draw: st.DrawFn) -> Ellipse:
    """Inside, partly outside and wholly outside a picture of about 100 pixels; tiny to far larger than it."""
    place = st.floats(-150, 250, allow_nan=False)
    radius = st.one_of(st.floats(0.01, 3), st.floats(3, 80), st.floats(80, 5000))
    return Ellipse(draw(place), draw(place), draw(radius), draw(radius), draw(st.floats(0, 1)))


@pytest.mark.parametrize("effect", CHANGING)
@settings(max_examples=80, deadline=None)
@given(
    given_ellipses=st.lists(ellipses(), min_size=1, max_size=4),
    strength=st.floats(0, 1),
    feather=st.one_of(st.just(0.0), st.floats(0, 1)),
    size=st.sampled_from([(96, 64), (130, 278), (2, 2)]),
)
def test_a_spotlight_is_within_one_step_of_the_formulas(
    effect: Effect, given_ellipses: list[Ellipse], strength: float, feather: float, size: tuple[int, int]
) -> None:
    frame = noise(*size)
    regions = [still(e.x, e.y, e.radius_x, e.radius_y, e.amount) for e in given_ellipses]
    spotlight = Spotlight(
        regions, width=size[0], height=size[1], effect=effect, strength=strength, feather=feather
    )
    shown = spotlight.apply(frame, Fraction(0))
    assert difference(shown, reference(frame, given_ellipses, effect, strength, feather)) <= 1
    assert shown.tags == TAGS


@pytest.mark.parametrize("effect", CHANGING)
def test_the_picture_that_came_is_left_as_it_was(effect: Effect) -> None:
    frame, before = noise(64, 64), noise(64, 64)
    for plane in (frame.y, frame.u, frame.v):
        plane.setflags(write=False)
    shown = Spotlight([still(30, 30, 9, 9)], width=64, height=64, effect=effect).apply(frame, Fraction(0))
    assert difference(frame, before) == 0
    assert difference(shown, before) > 10
    assert all(plane.flags.c_contiguous for plane in (shown.y, shown.u, shown.v))


def test_the_dark_overlay_keeps_the_ellipse_and_takes_light_outside_towards_black_and_neutral() -> None:
    frame = flat(200, 100, luma=216, cb=78, cr=178)
    shown = Spotlight([still(50, 50, 20, 30)], width=200, height=100, strength=0.6).apply(frame, Fraction(0))
    assert (shown.y[50, 50], shown.u[25, 25], shown.v[25, 25]) == (216, 78, 178)
    assert (shown.y[50, 150], shown.u[25, 75], shown.v[25, 75]) == (96, 108, 148)
    black = Spotlight([still(50, 50, 20, 30)], width=200, height=100, strength=1.0).apply(frame, Fraction(0))
    assert (black.y[50, 150], black.u[25, 75], black.v[25, 75]) == (16, 128, 128)


def test_the_boost_brightens_the_ellipse_and_leaves_the_rest_bit_for_bit() -> None:
    frame = noise(200, 100)
    spotlight = Spotlight([still(50, 50, 20, 20)], width=200, height=100, effect="brightness_boost")
    shown = spotlight.apply(flat(200, 100, luma=116, cb=108, cr=148), Fraction(0))
    assert (shown.y[50, 50], shown.u[25, 25], shown.v[25, 25]) == (176, 96, 160)
    noisy = spotlight.apply(frame, Fraction(0))
    outside = reference_light(Ellipse(50, 50, 20, 20, 1.0), 200, 100, 0.25) == 0
    assert (noisy.y[outside] == frame.y[outside]).all()
    assert not (noisy.y[~outside] == frame.y[~outside]).all()


def test_the_boost_stops_at_white_and_does_not_pull_down_what_is_above() -> None:
    spotlight = Spotlight([still(8, 8, 99, 99)], width=16, height=16, effect="brightness_boost", strength=1.0)
    values = {
        luma: int(spotlight.apply(flat(16, 16, luma=luma), Fraction(0)).y[8, 8]) for luma in (0, 15, 16)
    }
    assert values == {0: 0, 15: 15, 16: 16}
    values = {
        luma: int(spotlight.apply(flat(16, 16, luma=luma), Fraction(0)).y[8, 8]) for luma in (50, 230, 250)
    }
    assert values == {50: 84, 230: 235, 250: 250}
    chroma = spotlight.apply(flat(16, 16, cb=10, cr=220), Fraction(0))
    assert (chroma.u[4, 4], chroma.v[4, 4]) == (10, 240)


@pytest.mark.parametrize("effect", CHANGING)
@pytest.mark.parametrize("amount", [1.0, 0.37])
def test_no_edge_shows_where_the_region_of_interest_ends(effect: Effect, amount: float) -> None:
    """On one grey the values go one way from the centre outwards, by small steps, to one value beyond."""
    shown = Spotlight([still(161.3, 118.7, 70.2, 41.9, amount)], width=320, height=240, effect=effect).apply(
        flat(320, 240), Fraction(0)
    )
    outside = shown.y[0, 0]
    for line in (shown.y[118, 161:], shown.y[118, 160::-1], shown.y[119:, 161], shown.y[118::-1, 161]):
        steps = np.diff(line.astype(int))
        assert (steps <= 0).all()
        assert steps.min() >= -20
        assert line[-1] == outside
    # A seam would be a straight border: the corners of the box and what lies beyond it are one value.
    box = (slice(118 - 53, 118 + 55), slice(161 - 88, 161 + 90))
    beyond = np.ones(shown.y.shape, bool)
    beyond[box] = False
    assert (shown.y[beyond] == outside).all()
    assert (shown.y[box][:6, :6] == outside).all()
    assert (shown.y[box][3, :] != outside).any()


def test_overlapping_regions_join_by_the_larger_light() -> None:
    one, other = still(40, 32, 15, 15), still(60, 32, 15, 15)
    frame = noise(96, 64)
    both, first, second = (
        Spotlight(regions, width=96, height=64).apply(frame, Fraction(0)).y.astype(int)
        for regions in ([one, other], [one], [other])
    )
    # Less darkened is nearer to the picture itself: of two, the one further from black.
    brighter = np.where(np.abs(first - 16) >= np.abs(second - 16), first, second)
    assert (both == brighter).all()
    swapped = Spotlight([other, one], width=96, height=64).apply(frame, Fraction(0))
    assert (both == swapped.y).all()


def test_a_region_far_outside_darkens_all_of_the_picture_evenly() -> None:
    frame = flat(64, 48, luma=116)
    shown = Spotlight([still(-1e9, 4e5, 3, 1e7)], width=64, height=48, strength=0.5).apply(frame, Fraction(0))
    assert np.unique(shown.y).tolist() == [66]
    boost = Spotlight([still(500, 20, 30, 30)], width=64, height=48, effect="brightness_boost")
    assert difference(boost.apply(frame, Fraction(0)), frame) == 0


def test_a_tiny_region_still_lights_a_pixel() -> None:
    shown = Spotlight([still(20.0, 20.0, 0.001, 0.001)], width=40, height=40).apply(flat(40, 40), Fraction(0))
    assert shown.y[19:21, 19:21].min() > shown.y[0, 0]
    assert (shown.y > shown.y[0, 0]).sum() <= 16


def test_the_same_picture_comes_back_where_nothing_is_to_be_done() -> None:
    frame = noise(64, 64)
    region = SpotlightRegion(Fraction(1), Fraction(2), [Fraction(1)], np.array([[30.0, 30, 9, 9, 1]]))
    spotlight = Spotlight([region], width=64, height=64)
    before, start, end = Fraction(999_999, 1_000_000), Fraction(1), Fraction(2)
    assert spotlight.apply(frame, before) is frame
    assert spotlight.apply(frame, start) is not frame
    assert spotlight.apply(frame, end) is frame
    assert Spotlight([], width=64, height=64).apply(frame, start) is frame
    assert Spotlight([region], width=64, height=64, effect="original").apply(frame, start) is frame
    assert Spotlight([region], width=64, height=64, strength=0.0).apply(frame, start) is frame
    invisible = still(30, 30, 9, 9, opacity=0.0)
    assert Spotlight([invisible], width=64, height=64).apply(frame, start) is frame


@pytest.mark.parametrize("effect", CHANGING)
def test_a_region_goes_out_before_its_end_and_takes_the_darkness_with_it(effect: Effect) -> None:
    frame = flat(64, 64, luma=116)
    spotlight = Spotlight(
        [still(32, 32, 10, 10, end=Fraction(4))],
        width=64,
        height=64,
        effect=effect,
        strength=1.0,
        fade_out=Fraction(1),
    )
    place = (2, 2) if effect == "dark_overlay" else (32, 32)
    way = -1 if effect == "dark_overlay" else 1
    times = (Fraction(2), Fraction(3), Fraction(13, 4), Fraction(7, 2), Fraction(399, 100))
    shown = [int(spotlight.apply(frame, t).y[place]) for t in times]
    assert shown == [116 + way * change for change in (100, 100, 75, 50, 1)]
    assert spotlight.apply(frame, Fraction(4)) is frame


def test_a_region_shorter_than_the_fade_starts_at_full_strength() -> None:
    frame = flat(64, 64, luma=116)
    spotlight = Spotlight([still(32, 32, 10, 10, end=Fraction(1, 5))], width=64, height=64, strength=1.0)
    assert [int(spotlight.apply(frame, t).y[0, 0]) for t in (Fraction(0), Fraction(1, 10))] == [16, 66]


def test_a_fading_region_is_swallowed_by_the_darkness_of_one_that_stays() -> None:
    frame = flat(128, 64, luma=116)
    fading, staying = still(32, 32, 10, 10, end=Fraction(1)), still(96, 32, 10, 10)
    spotlight = Spotlight([fading, staying], width=128, height=64, strength=1.0, fade_out=Fraction(1))
    shown = spotlight.apply(frame, Fraction(3, 4))
    assert (shown.y[32, 96], shown.y[32, 32], shown.y[0, 64]) == (116, 41, 16)


@pytest.mark.parametrize("method", ["linear", "monotone_cubic"])
def test_an_ellipse_follows_its_key_frames_through_the_last_one(method) -> None:
    """29.97 pictures a second, the last key frame at the last picture and the end one picture later: the
    float sum of such times once fell behind the key frame and lost it."""
    frame_time = Fraction(1001, 30000)
    times = [Fraction(0), 10 * frame_time, 29 * frame_time]
    values = np.array([[20.0, 20, 8, 8, 1], [60, 30, 12, 6, 1], [100, 40, 10, 10, 1]])
    region = SpotlightRegion(Fraction(0), 30 * frame_time, times, values)
    spotlight = Spotlight(
        [region], width=128, height=64, fade_out=Fraction(0), interpolation=method, strength=0.8, feather=0.4
    )
    frame = noise(128, 64)
    curve = Curve(times, values, method)
    for number in (0, 3, 10, 28, 29):
        t = number * frame_time
        wanted = reference(frame, [Ellipse(*curve.at(t))], "dark_overlay", 0.8, 0.4)
        assert difference(spotlight.apply(frame, t), wanted) <= 1
    last = reference(frame, [Ellipse(100, 40, 10, 10, 1)], "dark_overlay", 0.8, 0.4)
    assert difference(spotlight.apply(frame, 29 * frame_time), last) <= 1
    assert spotlight.apply(frame, 30 * frame_time) is frame


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (still(1, 1, 0, 5), "radius is not above 0"),
        (still(1, 1, 5, -1), "radius is not above 0"),
        (still(1, 1, 5, 5, opacity=1.5), "opacity does not lie"),
        (still(1, 1, 5, 5, end=Fraction(0)), "not after its start"),
        (still(float("nan"), 1, 5, 5), "finite"),
        (SpotlightRegion(Fraction(0), LATE, [], np.zeros((0, 5))), "no key frames"),
        (SpotlightRegion(Fraction(0), LATE, [Fraction(0)], np.ones((1, 4))), "4 values"),
    ],
)
def test_a_region_that_cannot_be_is_refused_by_its_number(region: SpotlightRegion, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        Spotlight([still(1, 1, 1, 1), region], width=64, height=64)
    assert caught.value.input == "highlight region 1"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"effect": "sepia"}, "effect_type"),
        ({"strength": 1.1}, "strength"),
        ({"feather": -0.1}, "feather"),
        ({"fade_out": Fraction(-1)}, "fade_out"),
        ({"width": 63}, "size"),
    ],
)
def test_parameters_out_of_their_range_are_refused_by_name(changed, named: str) -> None:
    with pytest.raises(BadInput) as caught:
        Spotlight([], **({"width": 64, "height": 64} | changed))
    assert caught.value.input == named


def test_a_picture_of_another_size_is_a_defect() -> None:
    with pytest.raises(Internal, match="32x64 came to a spotlight for 64x64"):
        Spotlight([], width=64, height=64).apply(noise(32, 64), Fraction(0))
