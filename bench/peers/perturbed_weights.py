"""Write a checkpoint that is another detector of the same kind, size and speed.

    python perturbed_weights.py WEIGHTS OUT RELATIVE_NOISE

Every weight is multiplied by 1 + noise, as a few more epochs of training would move it. It is what
gets swapped in under a file's name.
"""

from __future__ import annotations

import sys

from edgekd_bench.ultralytics_setup import prepare_ultralytics


def main() -> None:
    """Perturb and save."""
    source, out, noise = sys.argv[1:]
    prepare_ultralytics()
    import torch

    checkpoint = torch.load(source, map_location="cpu", weights_only=False)
    torch.manual_seed(0)
    for key in ("model", "ema"):
        network = checkpoint.get(key)
        if network is None:
            continue
        for parameter in network.parameters():
            parameter.data *= 1 + float(noise) * torch.randn_like(parameter.data)
    torch.save(checkpoint, out)


if __name__ == "__main__":
    main()
