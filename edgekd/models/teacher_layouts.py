"""Recognise a DINO checkpoint by its tensors and bring it into the key layout Meta publishes.

The same weights circulate as Meta's ``.pth``, as Hugging Face folders (in an older and a newer
naming), inside training frameworks under a prefix, and as timm state dicts. File names lie and get
lost, so only the keys decide. timm converts Meta's layout itself; the rest is brought there first.

Sources of the layouts: github.com/facebookresearch/dinov3, github.com/facebookresearch/dinov2, and
the DINOv2 and DINOv3 models of github.com/huggingface/transformers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from edgekd.models.teacher_weights import StateDict
from edgekd_bench.errors import InputError

Family = Literal["dinov3_vit", "dinov2_vit", "dinov3_convnext"]
Layout = Literal["meta", "hugging face", "timm"]


@dataclass(frozen=True)
class DinoCheckpoint:
    """A recognised checkpoint.

    ``state`` has Meta's names, or timm's where the file already had them.
    """

    family: Family
    layout: Layout
    state: StateDict


@dataclass(frozen=True)
class _Signature:
    family: Family
    layout: Layout
    anchor: str  # the key that shows the prefix, if any
    needs: tuple[str, ...]
    forbids: tuple[str, ...] = ()


_SIGNATURES = (
    _Signature("dinov3_vit", "meta", "storage_tokens", ("blocks.0.attn.qkv.weight",)),
    _Signature("dinov3_vit", "timm", "reg_token", ("blocks.0.gamma_1",), ("pos_embed",)),
    _Signature(
        "dinov2_vit",
        "hugging face",
        "embeddings.position_embeddings",
        ("encoder.layer.0.layer_scale1.lambda1",),
    ),
    _Signature(
        "dinov3_vit", "hugging face", "embeddings.register_tokens", ("embeddings.cls_token",)
    ),
    _Signature("dinov2_vit", "timm", "reg_token", ("blocks.0.ls1.gamma", "pos_embed")),
    _Signature("dinov2_vit", "meta", "pos_embed", ("blocks.0.ls1.gamma", "cls_token")),
    _Signature("dinov2_vit", "meta", "pos_embed", ("blocks.0.0.ls1.gamma", "cls_token")),
    _Signature("dinov3_convnext", "meta", "downsample_layers.0.0.weight", ("norm.weight",)),
    _Signature(
        "dinov3_convnext",
        "hugging face",
        "layer_norm.weight",
        ("model.stages.0.layers.0.depthwise_conv.weight",),
    ),
    _Signature(
        "dinov3_convnext",
        "hugging face",
        "layer_norm.weight",
        ("stages.0.layers.0.depthwise_conv.weight",),
    ),
    _Signature(
        "dinov3_convnext", "timm", "stages.0.blocks.0.conv_dw.weight", ("head.norm.weight",)
    ),
)


def recognize(state: StateDict, where: str) -> DinoCheckpoint | None:
    """What kind of DINO checkpoint ``state`` is; None where it is none.

    A prefix such as ``backbone.`` or ``module.`` is taken off, and tensors outside of it (the heads
    of a self-supervised training) are left behind.

    Args:
        state: tensors by name, in whatever layout.
        where: file name for messages.

    Raises:
        InputError: a key bias that the published architecture does not have.
    """
    for signature in _SIGNATURES:
        inner = _without_prefix(state, signature)
        if inner is None:
            continue
        convert = _CONVERTERS.get((signature.family, signature.layout))
        converted = convert(inner, where) if convert else inner
        if signature.family == "dinov2_vit" and signature.layout == "meta":
            converted = _without_chunks(converted)
        return DinoCheckpoint(signature.family, signature.layout, converted)
    return None


def _without_prefix(state: StateDict, signature: _Signature) -> StateDict | None:
    """The tensors below the prefix under which the signature holds; None where it holds nowhere."""
    prefixes = [
        key[: -len(signature.anchor)]
        for key in state
        if key.endswith(signature.anchor)
        and (len(key) == len(signature.anchor) or key[-len(signature.anchor) - 1] == ".")
    ]
    for prefix in prefixes:
        found = all(prefix + key in state for key in signature.needs)
        if found and not any(prefix + key in state for key in signature.forbids):
            return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    return None


def _without_chunks(state: StateDict) -> StateDict:
    """``blocks.<chunk>.<n>.`` of an FSDP training → ``blocks.<n>.``; n counts through them."""
    return {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): v for key, v in state.items()}


def _rename(state: StateDict, rules: tuple[tuple[str, str], ...]) -> StateDict:
    renamed: StateDict = {}
    for key, tensor in state.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


_COMMON_VIT = (
    (r"layer_scale(\d)\.lambda1$", r"ls\1.gamma"),
    (r"attention\.o_proj\.", "attn.proj."),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
)
_DINOV3_VIT = (
    (r"^(?:model\.)?layer\.(\d+)\.", r"blocks.\1."),
    *_COMMON_VIT,
    (r"^embeddings\.register_tokens$", "storage_tokens"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
)
_DINOV2_VIT = (
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    *_COMMON_VIT,
    (r"attention\.attention\.(q)uery\.", r"attention.\1_proj."),
    (r"attention\.attention\.(k)ey\.", r"attention.\1_proj."),
    (r"attention\.attention\.(v)alue\.", r"attention.\1_proj."),
    (r"attention\.output\.dense\.", "attn.proj."),
    (r"mlp\.weights_in\.", "mlp.w12."),
    (r"mlp\.weights_out\.", "mlp.w3."),
    (r"^embeddings\.register_tokens$", "register_tokens"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
)
_CONVNEXT = (
    (r"^(?:model\.)?stages\.0\.downsample_layers\.", "downsample_layers.0."),
    (r"^(?:model\.)?stages\.(\d+)\.downsample_layers\.", r"downsample_layers.\1."),
    (r"^(?:model\.)?stages\.(\d+)\.layers\.(\d+)\.", r"stages.\1.\2."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    (r"\.layer_norm\.", ".norm."),
    (r"^layer_norm\.", "norm."),
)


def _dinov3_vit_from_hugging_face(state: StateDict, where: str) -> StateDict:
    gated = any(key.endswith("mlp.gate_proj.weight") for key in state)
    mlp = (
        (r"mlp\.gate_proj\.", "mlp.w1."),
        (r"mlp\.up_proj\.", "mlp.w2." if gated else "mlp.fc1."),
        (r"mlp\.down_proj\.", "mlp.w3." if gated else "mlp.fc2."),
    )
    renamed = _rename(state, (*_DINOV3_VIT, *mlp))
    for key, tensor in renamed.items():
        if key.endswith("attention.k_proj.bias") and bool(tensor.any()):
            raise InputError(f"{where}: {key} is not zero, but DINOv3 has no key bias")
    return _join_query_key_value(renamed)


def _dinov2_vit_from_hugging_face(state: StateDict, where: str) -> StateDict:
    del where
    joined = _join_gate(_join_query_key_value(_rename(state, _DINOV2_VIT)))
    # timm takes a state dict for Meta's by this key; some exports leave the unused token out.
    return {"mask_token": torch.zeros(1, joined["cls_token"].shape[-1]), **joined}


def _convnext_from_hugging_face(state: StateDict, where: str) -> StateDict:
    del where
    return _rename(state, _CONVNEXT)


def _join_query_key_value(state: StateDict) -> StateDict:
    """Three projections → one ``attn.qkv``; a missing bias counts as zero."""
    joined: StateDict = {}
    for key, tensor in state.items():
        match = re.match(r"^(.*)\.attention\.([qkv])_proj\.(weight|bias)$", key)
        if match is None:
            joined[key] = tensor
            continue
        block, _, kind = match.groups()
        parts = [state.get(f"{block}.attention.{letter}_proj.{kind}") for letter in "qkv"]
        known = next(part for part in parts if part is not None)
        filled = [torch.zeros_like(known) if part is None else part for part in parts]
        joined[f"{block}.attn.qkv.{kind}"] = torch.cat(filled)
    return joined


def _join_gate(state: StateDict) -> StateDict:
    """Gate and value of a SwiGLU block in one matrix, gate first, as Meta has them."""
    joined: StateDict = {}
    for key, tensor in state.items():
        if ".mlp.gate_proj." in key:
            value = state[key.replace("gate_proj", "up_proj")]
            joined[key.replace("gate_proj", "w12")] = torch.cat([tensor, value])
        elif ".mlp.up_proj." not in key:
            joined[key.replace("mlp.down_proj.", "mlp.w3.")] = tensor
    return joined


_CONVERTERS: dict[tuple[Family, Layout], Callable[[StateDict, str], StateDict]] = {
    ("dinov3_vit", "hugging face"): _dinov3_vit_from_hugging_face,
    ("dinov2_vit", "hugging face"): _dinov2_vit_from_hugging_face,
    ("dinov3_convnext", "hugging face"): _convnext_from_hugging_face,
}
