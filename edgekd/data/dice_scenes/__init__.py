"""The built-in data set: dice scenes rendered from a seed, with exact labels, without any asset.

It lets the whole pipeline be tried, tested and demonstrated offline: pictures of dice as a camera
above a tray would take them, six classes by the pips of the upper face. ``write_dice_scenes``
writes a data set, ``render_scene`` gives a single picture with its boxes.
"""

from edgekd.data.dice_scenes.annotations import NAMES
from edgekd.data.dice_scenes.dataset import DiceScenes, write_dice_scenes
from edgekd.data.dice_scenes.render import render_scene
from edgekd.data.dice_scenes.visibility import DieBox

__all__ = ["NAMES", "DiceScenes", "DieBox", "render_scene", "write_dice_scenes"]
