"""The crop: FFHQ's square, exact geometry, padding that does not show, and the way back."""

import dataclasses
import json

import numpy as np
import pytest

from jaxface import CropTransform, paste_back
from jaxface.media.alignment import crop_face, ffhq_transform, padded_margins
from jaxface.media.images import resize
from jaxface.media.pasting import paste_mask
from tests.photographs import astronaut, astronaut_landmarks, square_landmarks

LEVEL = 1 / 127.5  # one grey level of 255 in [-1, 1]


def published_corners(landmarks: np.ndarray) -> np.ndarray:
    """FFHQ's square once more, in complex numbers: i turns a vector a quarter, y pointing down."""
    points = landmarks[:, 0] + 1j * landmarks[:, 1]
    left, right = points[36:42].mean(), points[42:48].mean()
    to_eye, to_mouth = right - left, (points[48] + points[54]) / 2 - (left + right) / 2
    across = to_eye - 1j * to_mouth
    across *= max(2.0 * abs(to_eye), 1.8 * abs(to_mouth)) / abs(across)
    centre = (left + right) / 2 + 0.1 * to_mouth
    corners = centre + across * np.array([-1 - 1j, -1 + 1j, 1 + 1j, 1 - 1j])
    return np.stack([corners.real, corners.imag], axis=-1)


def turned_transform(size: int, side: float, source=(300, 200), degrees=17.0) -> CropTransform:
    angle = np.radians(degrees)
    right = (side / 2 * np.cos(angle), side / 2 * np.sin(angle))
    return CropTransform((140.25, 98.5), right, size, source)


def coordinates(width: int, height: int) -> np.ndarray:
    """An image whose red is x and whose green is y, in thousandths of pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y, np.zeros_like(x)], axis=-1) / 1000


def test_square_is_the_published_one():
    rng = np.random.default_rng(0)
    for scale in (3, 40, 900):
        for _ in range(20):
            landmarks = rng.normal(size=(68, 2)) * scale
            transform = ffhq_transform(landmarks, size=64, source=(512, 512))
            expected = published_corners(landmarks)
            # float64 in two orders of summation
            np.testing.assert_allclose(transform.corners, expected, atol=1e-9 * scale)


def test_square_of_an_upright_face_by_hand():
    """Eyes 40 px apart, mouth 40 px below: a side of 2 * max(2 * 40, 1.8 * 40) = 160 px."""
    transform = ffhq_transform(square_landmarks(100, 50, 100), size=128, source=(400, 300))
    assert transform.center == pytest.approx((150, 94))
    assert transform.side == pytest.approx(160)
    assert transform.right == pytest.approx((80, 0))
    np.testing.assert_allclose(transform.corners[0], [70, 14], atol=1e-9)


def test_astronauts_crop_is_level_centred_and_ffhqs():
    landmarks = astronaut_landmarks()
    transform = ffhq_transform(landmarks, size=256, source=(512, 512))
    assert np.abs(transform.corners - published_corners(landmarks)).max() < 2
    inside = transform.to_crop(landmarks)
    left, right = inside[36:42].mean(0), inside[42:48].mean(0)
    assert abs(np.degrees(np.arctan2(*(right - left)[::-1]))) < 2
    # FFHQ puts the eyes' middle on the vertical axis and a tenth of the way to the mouth above
    # the centre; the face turns a little, so it is not quite there.
    assert abs((left + right)[0] / 2 - 127.5) < 0.02 * 256
    assert abs((left + right)[1] / 2 - 127.5) < 0.06 * 256


def test_points_map_both_ways():
    transform = turned_transform(96, 130.0)
    points = np.random.default_rng(1).uniform(-50, 400, (5, 7, 2))
    np.testing.assert_allclose(transform.to_image(transform.to_crop(points)), points, atol=1e-9)
    edges = [[-0.5, -0.5], [-0.5, 95.5], [95.5, 95.5], [95.5, -0.5]]
    np.testing.assert_allclose(transform.to_image(edges), transform.corners, atol=1e-9)
    np.testing.assert_allclose(transform.to_crop(transform.center), [47.5, 47.5], atol=1e-9)


def test_transform_survives_json():
    transform = turned_transform(96, 130.0 / 3)
    text = json.dumps(transform.to_json())
    assert CropTransform.from_json(json.loads(text)) == transform
    document = transform.to_json()
    with pytest.raises(ValueError, match="expected center, right, size, source"):
        CropTransform.from_json(document | {"angle": 3})
    del document["size"]
    with pytest.raises(ValueError, match="expected center"):
        CropTransform.from_json(document)


@pytest.mark.parametrize(
    "change",
    [
        {"center": (np.nan, 0)},
        {"right": (0.0, 0.0)},
        {"right": (np.inf, 0.0)},
        {"size": 0},
        {"source": (0, 5)},
    ],
)
def test_what_is_no_square_is_refused(change):
    with pytest.raises(ValueError, match="CropTransform"):
        dataclasses.replace(turned_transform(96, 130.0), **change)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((5, 2)), r"expected \[68, 2\], got \[5, 2\]"),
        (np.full((68, 2), np.nan), "finite"),
        (np.zeros((68, 2)), "span no face"),
    ],
)
def test_landmarks_of_no_face_are_refused(landmarks, message):
    with pytest.raises(ValueError, match=message):
        ffhq_transform(landmarks, size=64, source=(100, 100))


# Side of the crop in the image: enlarged 3 times; about equal; reduced; shrunk first by 2 and 5.
@pytest.mark.parametrize(
    ("size", "side"), [(96, 32.0), (64, 63.0), (40, 70.5), (16, 79.0), (8, 84)]
)
@pytest.mark.parametrize("degrees", [0.0, 17.0, 200.0])
def test_every_pixel_comes_from_where_the_transform_says(size, side, degrees):
    transform = turned_transform(size, float(side), degrees=degrees)
    assert padded_margins(transform) is None
    found = crop_face(coordinates(300, 200), transform)[..., :2] * 1000
    y, x = np.mgrid[:size, :size]
    expected = transform.to_image(np.stack([x, y], axis=-1))
    # Interpolation and symmetric filters keep straight lines, but at a filter's cut-off end: the
    # outermost pixels may be off by a part of a crop's pixel, the others by a hundredth.
    error = np.abs(found - expected).max(-1) / (side / size)
    assert error.max() < 0.25
    assert error[2:-2, 2:-2].max() < 0.02


def test_crop_keeps_the_mean_of_fine_detail():
    """A chequered image shrinks to grey, not to a moire of it: sampling is anti-aliased."""
    y, x = np.mgrid[:200, :300]
    board = np.where((x + y) % 2, 1, -1).astype(np.float32)[..., None].repeat(3, -1)
    for size, side in ((16, 79.0), (30, 100.0)):
        assert np.abs(crop_face(board, turned_transform(size, side))).max() < 0.1


def test_padding_leaves_the_inside_alone_and_continues_the_outside():
    picture = astronaut()
    landmarks = astronaut_landmarks()
    whole = ffhq_transform(landmarks, size=174, source=(512, 512))
    assert padded_margins(whole) is None
    # The same face in an image that ends 20 px inside the crop's left edge and 10 px above it.
    left, top = np.ceil(whole.corners.min(0)).astype(int) + np.array([20, -10])
    cut = np.ascontiguousarray(picture[top:, left:])
    transform = ffhq_transform(landmarks - (left, top), size=174, source=cut.shape[1::-1])
    margins = padded_margins(transform)
    assert margins.min() >= 0.3 * transform.side - 1
    found, expected = crop_face(cut, transform), crop_face(picture, whole)
    points = transform.to_image(np.stack(np.mgrid[:174, :174][::-1], axis=-1))
    # Four pixels further in than the blur, where Lanczos's filter ends; at the other edges the blur
    # ends where the crop does.
    first, last = margins[:2] / 3 + 4, transform.corners.max(0) - 4
    sharp = ((points > first) & (points < last)).all(-1)
    assert 0.5 < sharp.mean() < 0.9
    np.testing.assert_allclose(found[sharp], expected[sharp], atol=1e-5)


def test_padding_is_blurred():
    noise = np.random.default_rng(3).uniform(-1, 1, (100, 120, 3)).astype(np.float32)
    found = crop_face(noise, CropTransform((20.0, 50.0), (40.0, 0.0), 80, (120, 100)))
    # 20 columns lie beyond the edge. Gaussian blur leaves 1 / (2 sigma sqrt(pi)) of white noise:
    # 0.18 at 1.6 px.
    assert 0.1 < found[10:70, :19].std() / found[10:70, 30:70].std() < 0.25


def test_padding_reflects_and_fades_to_the_median():
    """Beyond the edge by d of a margin of m pixels: the image d pixels inside, (m - d) / m of it,
    and d / m of the median."""
    ramp = np.broadcast_to(np.linspace(-1, 1, 120, dtype=np.float32)[:, None], (100, 120, 3))
    transform = CropTransform((20.0, 50.0), (40.0, 0.0), 80, (120, 100))
    margin = padded_margins(transform)[0]
    found = crop_face(ramp, transform)
    x = transform.to_image(np.stack([np.arange(80), np.full(80, 40)], axis=-1))[:, 0]
    outside = -x - 0.5  # from the image's edge
    columns = np.flatnonzero(outside > 6)  # where the blur, of 1.6 px, no longer sees the fold
    assert len(columns) > 10
    # What is padded is the crop with its border: 68 columns, and the margins' reflections of them.
    padded = np.pad(ramp[:, :68], ((0, 0), (int(margin), 24), (0, 0)), "reflect")
    share = (outside[columns] / margin)[:, None]
    inside = ramp[50, np.round(outside[columns]).astype(int)]
    expected = (1 - share) * inside + share * np.median(padded, axis=(0, 1))
    # A column of the ramp is 0.017; where exactly the fold lies is worth half of one.
    np.testing.assert_allclose(found[40, columns], expected, atol=0.02)


def test_padding_of_one_colour_is_that_colour():
    picture = np.broadcast_to(np.float32([0.5, -0.25, 0.125]), (60, 80, 3))
    for center in ((40.0, 30.0), (2.0, 3.0), (90.0, 30.0)):
        found = crop_face(picture, CropTransform(center, (30.0, 10.0), 48, (80, 60)))
        np.testing.assert_allclose(found, np.broadcast_to(picture[0, 0], (48, 48, 3)), atol=1e-5)


def test_blur_is_gaussian_at_every_width():
    ndimage = pytest.importorskip("scipy.ndimage")
    from jaxface.media.alignment import _blurred

    image = np.random.default_rng(2).uniform(-1, 1, (150, 211, 3)).astype(np.float32)
    image = resize(resize(image, (20, 30)), (150, 211))
    for sigma in (0.7, 3.0, 14.0, 20.0, 40.0):
        expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="reflect")
        found, median = _blurred(image, sigma)
        # float32 where it is done in full; from 16 px on a smaller image, which costs up
        # to 2.6 % of what the image varies, in a place that is blurred anyway.
        atol = 1e-6 if sigma < 16 else 0.03 * image.std()
        np.testing.assert_allclose(found, expected, atol=atol)
        np.testing.assert_allclose(median, np.median(expected, axis=(0, 1)), atol=0.02)


def test_crop_refuses_other_pictures():
    transform = turned_transform(64, 60.0)
    with pytest.raises(ValueError, match=r"expected \[200, 300, 3\].*got \[300, 200, 3\]"):
        crop_face(np.zeros((300, 200, 3), np.float32), transform)
    outside = dataclasses.replace(transform, center=(900.0, 98.5))
    with pytest.raises(ValueError, match="outside the image"):
        crop_face(np.zeros((200, 300, 3), np.float32), outside)


def round_trip(size: int, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Mean grey levels (of 255) by which an unchanged crop's pasting changes the image, within
    the whole mask and where the mask is 1."""
    height, width = picture.shape[:2]
    transform = ffhq_transform(landmarks, size=size, source=(width, height))
    pasted = paste_back(picture, crop_face(picture, transform), transform)
    mask = paste_mask(transform)
    assert (pasted[mask == 0] == picture[mask == 0]).all()
    change = np.abs(pasted - picture) / LEVEL
    return np.array([change[mask > 0].mean(), change[mask == 1].mean()])


def test_unchanged_crop_pastes_back_within_a_grey_level():
    """At three times the resolution of its place (174 px a side) the crop holds all its detail."""
    assert (round_trip(512, astronaut(), astronaut_landmarks()) <= 1).all()
    # In an image that the crop reaches beyond, on every side, as well.
    cut, landmarks = astronaut()[40:190, 155:298], astronaut_landmarks() - (155, 40)
    assert (round_trip(512, np.ascontiguousarray(cut), landmarks) <= 1).all()
    # An image with less fine detail needs no more pixels than it has.
    large = resize(astronaut(), 1024)
    assert (round_trip(348, large, astronaut_landmarks() * 2 + 0.5) <= 1).all()


def test_crop_smaller_than_its_place_softens_the_face_and_nothing_else():
    """What a crop does not hold cannot come back: measured 1.9 levels at the place's own
    resolution and 4.1 at half of it. Colours stay, and so does everything outside."""
    picture, landmarks = astronaut(), astronaut_landmarks()
    equal, half = round_trip(174, picture, landmarks)[0], round_trip(87, picture, landmarks)[0]
    assert 1 < equal < 2.5
    assert 1.5 * equal < half < 6
    transform = ffhq_transform(landmarks, size=87, source=(512, 512))
    pasted = paste_back(picture, crop_face(picture, transform), transform)
    changed = paste_mask(transform) > 0
    shift = (pasted - picture)[changed].mean(0) / LEVEL
    assert np.abs(shift).max() < 0.2


@pytest.mark.parametrize("edit_size", [48, 96, 500])
def test_edit_lands_where_its_pixels_came_from(edit_size):
    transform = turned_transform(96, 90.0)
    place = np.array([0.37, 0.58])  # of the crop
    y, x = np.mgrid[:edit_size, :edit_size]
    at = place * edit_size - 0.5
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * (0.05 * edit_size) ** 2))
    edited = np.repeat((spot * 2 - 1).astype(np.float32)[..., None], 3, axis=-1)
    picture = np.full((200, 300, 3), -1, np.float32)
    pasted = paste_back(picture, edited, transform)
    light = pasted[..., 0].astype(np.float64) + 1
    light[light < 0.05] = 0
    found = [(light * grid).sum() / light.sum() for grid in np.mgrid[:200, :300][::-1]]
    np.testing.assert_allclose(found, transform.to_image(place * 96 - 0.5), atol=0.1)


def test_mask_rises_from_the_crops_edge_and_spares_the_pictures():
    transform = turned_transform(96, 90.0)
    mask = paste_mask(transform, feather=0.2)
    assert mask.shape == (200, 300)
    assert mask.dtype == np.float32
    assert mask[98, 140] == 1
    points = np.stack(np.mgrid[:200, :300][::-1], axis=-1)
    inner = transform.to_crop(points)
    depth = 0.5 - np.abs((inner + 0.5) / 96 - 0.5).max(-1)  # in sides of the crop
    assert (mask[depth <= 0] == 0).all()
    assert (mask[depth >= 0.2] == 1).all()
    np.testing.assert_allclose(mask[abs(depth - 0.1) < 1e-3], 0.5, atol=0.02)
    hard = paste_mask(transform, feather=0)
    assert set(np.unique(hard)) == {0, 1}
    # A crop that leaves the image on the left: its blur reaches 9 px (a third of 0.3 sides) in.
    over = CropTransform((30.0, 100.0), (45.0, 0.0), 96, (300, 200))
    mask = paste_mask(over, feather=0.1)
    assert (mask[:, :9] == 0).all()
    assert mask[100, 19] == 1
    with pytest.raises(ValueError, match=r"expected 0 to 0\.5, got 0\.6"):
        paste_mask(over, feather=0.6)


def test_pasting_refuses_what_does_not_fit():
    transform = turned_transform(96, 90.0)
    picture, edited = np.zeros((200, 300, 3), np.float32), np.zeros((96, 96, 3), np.float32)
    with pytest.raises(ValueError, match=r"expected \[S, S, 3\], got \[96, 90, 3\]"):
        paste_back(picture, edited[:, :90], transform)
    with pytest.raises(ValueError, match="the image that the transform was made for"):
        paste_back(picture[1:], edited, transform)
    before = picture.copy()
    assert paste_back(picture, edited + 1, transform).max() == 1
    np.testing.assert_array_equal(picture, before)  # the original is not written to


def test_crop_far_outside_changes_nothing():
    far = CropTransform((900.0, 98.5), (30.0, 0.0), 64, (300, 200))
    picture = np.zeros((200, 300, 3), np.float32)
    np.testing.assert_array_equal(paste_back(picture, np.ones((64, 64, 3)), far), picture)
