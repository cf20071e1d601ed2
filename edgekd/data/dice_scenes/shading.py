"""How dice and tray answer the light, in linear RGB.

Diffuse light with soft shadows and ambient occlusion, light bounced up from the tray, glossy
reflections of the lamp and the room by Fresnel's law, and a simple model of light that passes
through clear plastic. No global illumination: these are the effects a detector could lean on.
"""

from __future__ import annotations

import numpy as np

from edgekd.data.dice_scenes.camera import FloatArray
from edgekd.data.dice_scenes.clutter import Ground
from edgekd.data.dice_scenes.die import Die, Material, pip_field, rotate, signed_distance, slab
from edgekd.data.dice_scenes.light import Light, Rgb
from edgekd.data.dice_scenes.shadows import TrayShadow
from edgekd.data.dice_scenes.visibility import Samples

_HOLLOW = 0.6
_BULGE = 0.05
_BRIGHTEST = 4.0


def _column(colour: Rgb) -> FloatArray:
    return np.array(colour, np.float32)[:, None]


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    product: FloatArray = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def reflection(ray: FloatArray, normal: FloatArray) -> FloatArray:
    """Mirror directions ``(3, N)`` of ``ray`` at ``normal``, both ``(3, N)``."""
    mirrored: FloatArray = ray - 2 * _dot(ray, normal) * normal
    return mirrored


def surroundings(direction: FloatArray, light: Light, bounce: Rgb, gloss: float) -> FloatArray:
    """Radiance ``(3, N)`` of lamp, room and tray in ``direction`` ``(3, N)``."""
    toward = _dot(direction, light.direction.astype(np.float32))
    sharpness = np.float32(14 * np.exp(3.2 * gloss))
    core = np.float32(np.cos(0.1 + 0.5 * light.softness))
    lobe = np.exp(np.minimum(sharpness * (toward - core), 0))
    up = np.clip(direction[2] * 4 + 0.5, 0, 1)
    room = _column(light.ambient) * (0.55 + 0.9 * np.maximum(direction[2], 0))
    lamp = _column(light.lamp) * np.float32(2 + 9 * gloss)
    radiance: FloatArray = _column(bounce) * (1 - up) + room * up + lamp * lobe
    return radiance


def fresnel(cosine: FloatArray) -> FloatArray:
    """Reflectance ``(N,)`` of plastic or lacquer, by Schlick's approximation."""
    reflectance: FloatArray = 0.04 + 0.6 * (1 - np.clip(cosine, 0, 1)) ** 5
    return reflectance


def shade_die(
    die: Die, samples: Samples, light: Light, bounce: Rgb, others: list[Die], texel: float
) -> FloatArray:
    """Radiance ``(3, N)`` of the visible samples of ``die``.

    Args:
        die: the die.
        samples: its visible samples.
        light: the scene's light.
        bounce: linear RGB that the tray sends back up.
        others: dice near enough to shade it.
        texel: size of a sample at the die, world units.
    """
    material = die.material
    cover, offset = pip_field(die, samples.local, samples.normal, 1.5 * texel / die.half)
    # Faces bulge a little, as polished plastic does, and pips are hollow.
    bent = samples.normal + np.float32(_BULGE) * samples.local
    bent = bent - np.float32(_HOLLOW) * offset * (cover > 0.5)
    normal = rotate(die.rotation, bent / np.sqrt(_dot(bent, bent)))
    point = rotate(die.rotation * die.half, samples.local) + die.centre.astype(np.float32)[:, None]
    sun = light.direction.astype(np.float32)
    # Clear plastic sends less light back from its surface, and the rest through.
    albedo = _body(material, samples.local) * np.float32(1 - 0.5 * material.translucency)
    albedo = albedo + (_column(material.pip) - albedo) * cover
    lamp, ambient = _received(die, point, normal, light, others)
    facing = _dot(normal, sun)
    wrap = np.float32(0.35 * material.translucency)
    direct = np.maximum((facing + wrap) / (1 + wrap), 0) * lamp
    up = 0.5 + 0.5 * normal[2]
    # Light from below has itself passed under the dice, so it is weaker than what falls on them.
    around = _column(light.ambient) * up + _column(bounce) * (0.7 * (1 - up))
    radiance = albedo * (_column(light.lamp) * direct + around * ambient * (1 - 0.2 * cover))
    if material.translucency:
        radiance += _through(material, samples, die, light, lamp) * (1 - cover)
    open_share = (0.4 + 0.6 * np.minimum(lamp, ambient)) * (1 - 0.35 * cover)
    radiance += _shine(material, samples, normal, light, bounce) * open_share
    clipped: FloatArray = np.minimum(radiance, _BRIGHTEST)
    return clipped


def _shine(
    material: Material, samples: Samples, normal: FloatArray, light: Light, bounce: Rgb
) -> FloatArray:
    """Reflections ``(3, N)`` of lamp, room and tray in the plastic.

    On a flat face the lamp's reflection is held back: a photographer would turn the tray before a
    whole upper face blew out, and a die whose pips nobody can see must not be labelled.
    """
    strength = fresnel(-_dot(samples.ray, normal)) * (0.5 + 0.8 * material.gloss)
    mirrored = reflection(samples.ray, normal)
    shine = surroundings(mirrored, light, bounce, material.gloss) * strength
    flat = np.abs(samples.normal).max(0) > 0.995
    held: FloatArray = np.minimum(shine, np.where(flat, np.float32(0.13), np.float32(_BRIGHTEST)))
    return held


def _body(material: Material, local: FloatArray) -> FloatArray:
    """Colour ``(3, N)`` of the plastic, marbled where it has a second colour."""
    if material.swirl == material.body:
        return np.repeat(_column(material.body), local.shape[1], axis=1)
    x, y, z = local
    # The colour itself seeds the folds, so that no two marbled dice share them.
    phase = np.float32(997 * sum(material.body) % 6.28)
    fold = np.sin(2.1 * y + 1.7 * z + phase) + np.sin(2.6 * z - 1.9 * x + 2 * phase)
    wave = np.sin(2.3 * x + 1.4 * y + 2.2 * fold + phase)
    share = np.clip(0.5 + 0.8 * wave, 0, 1)
    marbled: FloatArray = _column(material.body) * (1 - share) + _column(material.swirl) * share
    return marbled


def _received(
    die: Die, point: FloatArray, normal: FloatArray, light: Light, others: list[Die]
) -> tuple[FloatArray, FloatArray]:
    """Shares ``(N,)`` of lamp and of ambient light that reach the points."""
    lamp = light.falloff(point[0], point[1])
    low = np.clip(1 - point[2] / np.float32(1.8 * die.half), 0, 1)
    ambient = 1 - 0.5 * low * low * (1 - np.maximum(normal[2], 0))
    for other in others:
        local = other.to_local(point)
        direction = other.rotation.T @ light.direction
        enter, leave = slab(local, direction.astype(np.float32)[:, None])
        chord = np.where(leave > 0, leave - np.maximum(enter, 0), 0)
        # The chord grows from zero at the silhouette: its start is the penumbra.
        lamp = lamp * (1 - 0.92 * np.clip(chord / np.float32(0.2 + 2 * light.softness), 0, 1))
        gap = np.maximum(signed_distance(other, local), 0)
        toward = other.centre.astype(np.float32)[:, None] - point
        facing = np.maximum(_dot(normal, toward) / np.sqrt(_dot(toward, toward)), 0)
        ambient = ambient * (1 - 0.6 * facing * np.exp(-gap / np.float32(0.7)))
    return lamp, ambient


def _through(
    material: Material, samples: Samples, die: Die, light: Light, lamp: FloatArray
) -> FloatArray:
    """Light that clear plastic passes on: it gathers on the side away from the lamp."""
    sun = (die.rotation.T @ light.direction).astype(np.float32)
    away = np.clip(0.5 - 0.42 * _dot(samples.local, sun), 0, 1.2)
    refracted = samples.ray * np.float32(0.66)
    inward = rotate(die.rotation.T, refracted) - np.float32(0.75) * samples.normal
    inward = inward / np.sqrt(_dot(inward, inward))
    _, depth = slab(samples.local * np.float32(0.98), inward)
    far = samples.local + np.clip(depth, 0, 3) * inward
    edge = np.clip((np.sort(np.abs(far), axis=0)[1] - 0.75) * 5, 0, 1)  # far edges catch light
    body = _column(material.body)
    passed = body ** (0.7 + 0.5 * np.clip(depth, 0, 3))
    glow = _column(light.lamp) * (0.06 + 0.9 * away**3) * (0.4 + 0.6 * lamp)
    glow = glow + _column(light.ambient) * 0.3
    strength = np.float32(0.7 * material.translucency) * (0.75 + 0.9 * edge)
    gathered: FloatArray = passed * glow * strength
    return gathered


def shade_ground(
    ground: Ground, rays: FloatArray, light: Light, shadow: TrayShadow | None, gloss: float
) -> FloatArray:
    """Radiance ``(3, H, W)`` of the tray.

    Args:
        ground: what lies there.
        rays: ``(3, H, W)`` unit directions from the camera.
        light: the scene's light.
        shadow: of the dice; None where there are none.
        gloss: of the tray, 0 to 1.
    """
    lamp = light.falloff(ground.u, ground.v) * np.float32(light.direction[2])
    ambient = ground.occlusion
    open_sky: FloatArray = np.ones((1, 1), np.float32)
    glow = None
    if shadow is not None:
        open_sky = 1 - shadow.blocked
        ambient = ambient * (1 - shadow.occluded)
        glow = shadow.glow
    direct = lamp * ground.relief * open_sky
    radiance = np.empty_like(ground.albedo)
    for i in range(3):
        lit = np.float32(light.lamp[i]) * (direct if glow is None else direct + lamp * glow[i])
        radiance[i] = ground.albedo[i] * (lit + np.float32(light.ambient[i]) * ambient)
    if gloss > 0:
        mirrored = np.stack([rays[0], rays[1], -rays[2]]).reshape(3, -1)
        # A tray is rougher than a die: its highlight is wide and has no edge.
        shine = surroundings(mirrored, light, (0, 0, 0), 0.3 * gloss).reshape(radiance.shape)
        strength = fresnel(mirrored[2]).reshape(lamp.shape) * np.float32(gloss)
        radiance += np.minimum(shine * strength * (0.25 + 0.75 * open_sky), 1.5)
    return radiance
