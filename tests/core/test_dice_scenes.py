"""The built-in dice scenes: labels that the pictures bear out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekd.data.dice_scenes import render_scene
from edgekd.data.dice_scenes.camera import orbit_camera
from edgekd.data.dice_scenes.die import (
    FACE_NORMALS,
    Die,
    Material,
    intersect,
    rotate,
    signed_distance,
    turn_up,
)
from edgekd.data.dice_scenes.render import render
from edgekd.data.dice_scenes.scene import Scene, draw_scene, without_optics
from edgekd.data.dice_scenes.visibility import (
    MIN_UPPER_VISIBLE,
    MIN_VISIBLE,
    SUPERSAMPLING,
    find_boxes,
    trace,
)
from edgekd_bench.errors import InputError

WHITE = Material((0.8, 0.8, 0.8), (0.8, 0.8, 0.8), (0.01, 0.01, 0.01), 0.0, 0.3)


def die_at(x: float, y: float, value: int, yaw: float = 0.3) -> Die:
    c, s = np.cos(yaw), np.sin(yaw)
    spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    return Die(np.array([x, y, 0.5]), spin @ turn_up(value), 0.5, 0.15, 1.45, 0.19, WHITE)


def staged(*dice: Die, elevation: float = 60.0, width: float = 4.0) -> Scene:
    """A scene of given dice, seen from +x, without clutter and through a perfect lens."""
    fov = np.radians(35)
    camera = orbit_camera(
        elevation=float(np.radians(elevation)),
        azimuth=0.0,
        roll=0.1,
        distance=float(width / (2 * np.tan(fov / 2))),
        fov=float(fov),
    )
    scene = replace(draw_scene(5), camera=camera, dice=dice, clutter=(), texture="felt")
    light = replace(scene.light, hot_spot=np.zeros(2), reach=50.0)
    return without_optics(replace(scene, light=light))


def count_blobs(mask: np.ndarray, least: int = 4) -> int:
    """Number of 4-connected regions of at least ``least`` pixels."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    blobs = 0
    while left:
        queue, size = [left.pop()], 0
        while queue:
            y, x = queue.pop()
            size += 1
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    queue.append(near)
        blobs += size >= least
    return blobs


def test_opposite_faces_add_up_to_seven_and_the_die_is_right_handed() -> None:
    for value, normal in FACE_NORMALS.items():
        assert FACE_NORMALS[7 - value] == tuple(-axis for axis in normal)
    around_a_corner = np.array([FACE_NORMALS[value] for value in (1, 2, 3)], dtype=float)
    assert np.linalg.det(around_a_corner) == pytest.approx(1)


@pytest.mark.parametrize("value", range(1, 7))
def test_turning_a_face_up_is_a_rotation_that_keeps_the_handedness(value: int) -> None:
    turn = turn_up(value)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    assert die_at(0, 0, value).value == value


@pytest.mark.parametrize("value", range(1, 7))
@pytest.mark.parametrize("elevation", [45.0, 80.0])
def test_the_picture_shows_as_many_pips_as_the_label_says(value: int, elevation: float) -> None:
    scene = staged(die_at(0, 0, value), elevation=elevation, width=2.8)
    size = 200
    buffer = trace(scene, size)
    (box,) = find_boxes(scene, buffer)
    luma = render(scene, size, buffer).mean(2)
    # The highest part of the die is its upper face, whatever its number is.
    (die,), (seen,) = scene.dice, buffer.samples
    height = rotate(die.rotation * die.half, seen.local)[2]
    top = np.zeros(buffer.ids.size, bool)
    top[seen.index[height > 0.44]] = True
    side = size * SUPERSAMPLING
    upper = top.reshape(side, side)[::SUPERSAMPLING, ::SUPERSAMPLING]
    dark = upper & (luma < 0.6 * np.median(luma[upper]))
    assert count_blobs(dark) == value == box.value


def test_rays_meet_the_die_on_its_surface() -> None:
    die = die_at(0.2, -0.1, 4)
    origin = np.array([4.0, 1.0, 3.0])
    toward = die.centre[:, None] + np.random.default_rng(0).uniform(-0.6, 0.6, (3, 400))
    rays = toward - origin[:, None]
    rays = (rays / np.linalg.norm(rays, axis=0)).astype(np.float32)
    hits, distance = intersect(die, origin, rays)
    assert 100 < hits.size < 400
    local = die.to_local((origin[:, None] + distance * rays[:, hits]).astype(np.float32))
    assert np.abs(signed_distance(die, local)).max() < 0.025


@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_the_extent_of_the_visible_die(seed: int) -> None:
    size = 128
    scene = draw_scene(seed)
    buffer = trace(scene, size)
    boxes = find_boxes(scene, buffer)
    expected = []
    for number, die in enumerate(scene.dice):
        y, x = np.nonzero(buffer.ids == number)
        if (
            buffer.visibility[number] >= MIN_VISIBLE
            and buffer.upper_visibility[number] >= MIN_UPPER_VISIBLE
        ):
            edges = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / SUPERSAMPLING
            expected.append((die.value, tuple(edges)))
    assert [(box.value, box.xyxy) for box in boxes] == expected
    for box in boxes:
        x0, y0, x1, y1 = box.xyxy
        assert 0 <= x0 < x1 <= size
        assert 0 <= y0 < y1 <= size
        assert 0 < box.visibility <= 1


def test_scenes_hold_readable_dice_that_do_not_run_into_each_other() -> None:
    values = set()
    for seed in range(40):
        scene = draw_scene(seed)
        assert 1 <= len(scene.dice) <= 8
        buffer = trace(scene, 64)
        values.update(box.value for box in find_boxes(scene, buffer))
        for die, seen in zip(scene.dice, buffer.samples, strict=True):
            assert die.corners()[:, 2].min() == pytest.approx(0, abs=1e-6)  # stands on the tray
            points = rotate(die.rotation * die.half, seen.local) + die.centre[:, None]
            for other in scene.dice:
                if other is not die and points.size:
                    assert signed_distance(other, other.to_local(points)).min() > -0.08
    assert values == set(range(1, 7))


def test_a_hidden_die_is_not_labelled_and_a_covered_one_has_a_smaller_box() -> None:
    back = die_at(-0.3, 0.0, 3)
    alone = find_boxes(scene := staged(back, elevation=36), trace(scene, 128))
    wall = replace(die_at(1.2, 0.0, 6), centre=np.array([1.3, 0.0, 1.2]), half=1.2)
    hiding = staged(back, wall, elevation=36)
    buffer = trace(hiding, 128)
    assert buffer.visibility[0] < MIN_VISIBLE
    assert [box.value for box in find_boxes(hiding, buffer)] == [6]

    beside = replace(die_at(0.75, 0.0, 6), centre=np.array([0.85, 0.15, 0.5]))
    partly = staged(back, beside, elevation=36)
    covered, _ = find_boxes(partly, trace(partly, 128))
    assert len(alone) == 1 and alone[0].visibility == 1
    assert covered.value == alone[0].value == 3
    assert covered.visibility < 1
    assert covered.xyxy[3] < alone[0].xyxy[3]


def test_the_same_scene_at_another_size_has_the_same_boxes() -> None:
    _, small = render_scene(8, 96)
    _, large = render_scene(8, 192)
    assert [box.value for box in small] == [box.value for box in large]
    for a, b in zip(small, large, strict=True):
        np.testing.assert_allclose(2 * np.array(a.xyxy), b.xyxy, atol=2.5)


def test_a_scene_is_its_seed_and_nothing_else() -> None:
    first, boxes = render_scene(4, 96)
    render_scene(9, 64)
    again, same = render_scene(4, 96)
    other, _ = render_scene(5, 96)
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert boxes == same
    assert not np.array_equal(first, other)


def test_an_empty_tray_can_be_rendered() -> None:
    scene = staged()
    buffer = trace(scene, 64)
    assert find_boxes(scene, buffer) == []
    assert render(scene, 64, buffer).std() > 0


@pytest.mark.parametrize(("seed", "size"), [(-1, 96), (0, 8), (0, 96.0), ("1", 96)])
def test_a_single_scene_refuses_bad_arguments(seed: object, size: object) -> None:
    with pytest.raises(InputError):
        render_scene(seed, size)  # type: ignore[arg-type]
