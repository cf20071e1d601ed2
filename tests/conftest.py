"""Prepare Ultralytics before any test module is imported.

A test module that imports it at its top would otherwise load it as it comes: with settings in the
home folder, and with Pillow's opener replaced for every test after it.
"""

from edgekd_bench.ultralytics_setup import prepare_ultralytics

prepare_ultralytics()
