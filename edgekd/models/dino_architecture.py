"""Which network a recognised DINO checkpoint belongs to, read off the shapes of its tensors.

Released sizes and self-trained ones differ only in numbers, so nothing is looked up by file name:
width, depth, gating, registers and grid all stand in the tensors. What does not, the number of
attention heads and the pixel statistics, comes from the files beside it or from Meta's convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekd.models.hugging_face import FolderFacts
from edgekd.models.teacher_layouts import DinoCheckpoint
from edgekd.models.teacher_weights import StateDict
from edgekd_bench.errors import InputError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))  # SAT-493M, DINOv3 model cards
_DINOV3_LICENCE, _DINOV2_LICENCE = "dinov3-license", "apache-2.0"

_VIT_NAMES = {
    (384, 12, False): "vits",
    (384, 12, True): "vits+",
    (768, 12, False): "vitb",
    (1024, 24, False): "vitl",
    (1280, 32, True): "vith+",
    (1536, 40, True): "vitg",
    (4096, 40, True): "vit7b",
}
_CONVNEXT_NAMES: dict[tuple[int, ...], str] = {
    (3, 3, 9, 3, 96): "tiny",
    (3, 3, 27, 3, 96): "small",
    (3, 3, 27, 3, 128): "base",
    (3, 3, 27, 3, 192): "large",
}
_SEVEN_B = 4096


@dataclass(frozen=True)
class Architecture:
    """How to build the network in timm, and what belongs to its weights.

    ``mean`` and ``std`` are None where the file cannot tell which images it was trained on.
    """

    name: str
    timm_name: str
    arguments: dict[str, Any]
    licence: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def infer_architecture(checkpoint: DinoCheckpoint, facts: FolderFacts, where: str) -> Architecture:
    """Build instructions for a checkpoint.

    Args:
        checkpoint: as recognised from the keys.
        facts: what the JSON files beside it say, if any.
        where: file name for messages.

    Raises:
        InputError: shapes that no such network has.
    """
    build = {
        "dinov3_vit": _dinov3_vit,
        "dinov2_vit": _dinov2_vit,
        "dinov3_convnext": _convnext,
    }[checkpoint.family]
    try:
        found = build(checkpoint.state, facts)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{where}: looks like {checkpoint.family} but its tensors do not add up ({error!r}); "
            "the file may be incomplete"
        ) from error
    if facts.mean is None or facts.std is None:
        return found
    return Architecture(**{**vars(found), "mean": facts.mean, "std": facts.std})


def _dinov3_vit(state: StateDict, facts: FolderFacts) -> Architecture:
    registers = state["storage_tokens" if "storage_tokens" in state else "reg_token"]
    width, patch = registers.shape[-1], state["patch_embed.proj.weight"].shape[-1]
    depth = _count(state, "blocks.")
    gate = _first_of(state, "blocks.0.mlp.w1.weight", "blocks.0.mlp.fc1_g.weight")
    hidden = state[gate or "blocks.0.mlp.fc1.weight"].shape[0]
    biased = any(key.endswith(("attn.qkv.bias", "attn.q_bias")) for key in state)
    plain = "small_plus" if gate else "small"
    size = _VIT_NAMES.get((width, depth, gate is not None), f"vit-{width}x{depth}")
    mean, std = _dinov3_pixels(state, width)
    return Architecture(
        name=f"dinov3_{size}{patch}",
        timm_name=f"vit_{plain}_patch16_dinov3{'_qkvb' if biased else ''}",
        arguments={
            "patch_size": patch,
            "embed_dim": width,
            "depth": depth,
            "num_heads": _num_heads(state, facts, width),
            "mlp_ratio": (hidden + 0.5) / width,  # timm rounds down
            "num_reg_tokens": registers.shape[-2],
            **({"swiglu_align_to": 1} if gate else {}),
        },
        licence=_DINOV3_LICENCE,
        mean=mean,
        std=std,
    )


def _num_heads(state: StateDict, facts: FolderFacts, width: int) -> int:
    """From the rotary periods (4 values each), the folder's config, or Meta's convention."""
    if facts.num_heads is not None:
        return facts.num_heads
    periods = state.get("rope_embed.periods")
    if periods is not None:
        return int(width // (4 * periods.numel()))
    return width // (128 if width == _SEVEN_B else 64)


def _dinov3_pixels(
    state: StateDict, width: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation; Meta's SAT weights alone have a CLS norm of their own, except at 7B."""
    has_own_norm = any(key.startswith("local_cls_norm") for key in state)
    if width == _SEVEN_B:
        return None, None
    return _SATELLITE if has_own_norm else _IMAGENET


def _dinov2_vit(state: StateDict, facts: FolderFacts) -> Architecture:
    width, patch = state["cls_token"].shape[-1], state["patch_embed.proj.weight"].shape[-1]
    depth = _count(state, "blocks.")
    registers = state.get("register_tokens", state.get("reg_token"))
    gated = "blocks.0.mlp.w12.weight" in state or _is_fused_gate(state)
    grid = round((state["pos_embed"].shape[1] - ("reg_token" not in state)) ** 0.5)
    first_layer = _first_of(state, "blocks.0.mlp.w12.weight", "blocks.0.mlp.fc1.weight")
    hidden = state[first_layer or ""].shape[0]
    size = _VIT_NAMES.get((width, depth, gated), f"vit-{width}x{depth}")
    return Architecture(
        name=f"dinov2_{size}{patch}" + ("_reg" if registers is not None else ""),
        timm_name=f"vit_{'giant' if gated else 'small'}_patch14"
        f"{'_reg4' if registers is not None else ''}_dinov2",
        arguments={
            "patch_size": patch,
            "img_size": grid * patch,
            "embed_dim": width,
            "depth": depth,
            "num_heads": facts.num_heads or width // 64,
            "mlp_ratio": (hidden + 0.5) / width,  # timm rounds down
            **({"reg_tokens": registers.shape[-2]} if registers is not None else {}),
        },
        licence=_DINOV2_LICENCE,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
    )


def _is_fused_gate(state: StateDict) -> bool:
    """timm's name for both: a gated MLP puts out half of what its first layer computes."""
    first, second = state["blocks.0.mlp.fc1.weight"], state["blocks.0.mlp.fc2.weight"]
    return first.shape[0] == 2 * second.shape[1]


def _convnext(state: StateDict, facts: FolderFacts) -> Architecture:
    del facts
    timm_names = "stem.0.weight" in state
    inner = "blocks." if timm_names else ""
    depths = [_count(state, f"stages.{stage}.{inner}") for stage in range(4)]
    block = "conv_dw" if timm_names else "dwconv"
    dims = [state[f"stages.{s}.{inner}0.{block}.weight"].shape[0] for s in range(4)]
    size = _CONVNEXT_NAMES.get((*depths, dims[0]), f"{'-'.join(map(str, depths))}x{dims[0]}")
    return Architecture(
        name=f"dinov3_convnext_{size}",
        timm_name="convnext_tiny.dinov3_lvd1689m",
        arguments={"depths": depths, "dims": dims},
        licence=_DINOV3_LICENCE,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
    )


def _first_of(state: StateDict, *names: str) -> str | None:
    return next((name for name in names if name in state), None)


def _count(state: StateDict, prefix: str) -> int:
    """How many numbered modules there are below ``prefix``."""
    return len({k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)})
