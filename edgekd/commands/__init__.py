"""The commands, a file for each part of the work; ``edgekd.cli`` registers them.

Each command parses, makes one documented call, and prints. Torch, Ultralytics and even NumPy are
imported inside the commands, because ``edgekd --help`` must answer at once.
"""
