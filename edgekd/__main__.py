"""``python -m edgekd``: what ``torchrun -m edgekd`` starts in every process."""

from edgekd.cli import main

main()
