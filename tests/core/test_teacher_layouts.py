"""The same weights in every layout they circulate in give the same features, to fp32 rounding.

The reference is the implementation in transformers, with small random networks built here; Meta's
and timm's files are made from it by the published renaming, which is written out once more below so
that a mistake in edgekd's own tables cannot hide.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgekd.config import TeacherConfig
from edgekd.models.teacher import Teacher
from edgekd.models.teacher_loading import load_teacher
from edgekd_bench.errors import InputError

transformers = pytest.importorskip(
    "transformers", reason="the reference implementation needs transformers (edgekd[dev])"
)

State = dict[str, torch.Tensor]
SIZES = [(64, 64), (96, 160)]
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def randomized(model: Any) -> Any:
    """Lively weights everywhere: an initialisation of zeros and ones would hide a swap."""
    torch.manual_seed(0)
    for tensor in model.state_dict().values():
        torch.nn.init.normal_(tensor, std=0.1)
    return model.eval()


def dinov3(gated: bool) -> Any:
    config = transformers.DINOv3ViTConfig(
        hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
        num_register_tokens=4, use_gated_mlp=gated, patch_size=16,
        hidden_act="silu" if gated else "gelu",
    )  # fmt: skip
    return randomized(transformers.DINOv3ViTModel(config))


def dinov2(registers: bool, gated: bool = False) -> Any:
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=112, patch_size=14,
        use_swiglu_ffn=gated, layer_norm_eps=1e-6,
    )  # fmt: skip
    return randomized(getattr(transformers, f"{kind}Model")(config))


def convnext() -> Any:
    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 2, 1])
    return randomized(transformers.DINOv3ConvNextModel(config))


def meta_dinov3(model: Any) -> State:
    """The tensors as in Meta's dinov3 repository."""
    own, state = model.state_dict(), {}
    gated = model.config.use_gated_mlp
    state["cls_token"] = own["embeddings.cls_token"]
    state["storage_tokens"] = own["embeddings.register_tokens"]
    state["mask_token"] = own["embeddings.mask_token"][0]
    state["rope_embed.periods"] = torch.ones(model.config.hidden_size // 2 // 4)
    for kind in ("weight", "bias"):
        state[f"patch_embed.proj.{kind}"] = own[f"embeddings.patch_embeddings.{kind}"]
        state[f"norm.{kind}"] = own[f"norm.{kind}"]
    for n in range(model.config.num_hidden_layers):
        old, new = f"model.layer.{n}.", f"blocks.{n}."
        attention = old + "attention."
        state[new + "attn.qkv.weight"] = torch.cat(
            [own[f"{attention}{letter}_proj.weight"] for letter in "qkv"]
        )
        q, v = own[attention + "q_proj.bias"], own[attention + "v_proj.bias"]
        state[new + "attn.qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
        state[new + "attn.qkv.bias_mask"] = torch.ones(3 * len(q))
        names = {"attention.o_proj": "attn.proj", "norm1": "norm1", "norm2": "norm2"}
        names |= (
            {"mlp.gate_proj": "mlp.w1", "mlp.up_proj": "mlp.w2", "mlp.down_proj": "mlp.w3"}
            if gated
            else {"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"}
        )
        for theirs, ours in names.items():
            for kind in ("weight", "bias"):
                state[f"{new}{ours}.{kind}"] = own[f"{old}{theirs}.{kind}"]
        for k in (1, 2):
            state[f"{new}ls{k}.gamma"] = own[f"{old}layer_scale{k}.lambda1"]
    return state


def older_dinov2_names(state: State) -> State:
    """As transformers 4 saved DINOv2."""
    renamed = {}
    for key, value in state.items():
        for letter, word in (("q", "query"), ("k", "key"), ("v", "value")):
            key = key.replace(f"attention.{letter}_proj.", f"attention.attention.{word}.")
        renamed[key.replace("attention.o_proj.", "attention.output.dense.")] = value
    return renamed


def older_dinov3_names(state: State) -> State:
    """As the published DINOv3 folders have them."""
    return {key.removeprefix("model."): value for key, value in state.items()}


def patch_map(model: Any, images: torch.Tensor) -> torch.Tensor:
    """The reference's final-norm patch tokens as a map."""
    patch = model.config.patch_size
    registers = getattr(model.config, "num_register_tokens", 0)
    with torch.no_grad():
        tokens = model(pixel_values=images).last_hidden_state[:, 1 + registers :]
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    return tokens.transpose(1, 2).reshape(len(images), -1, *grid)


def assert_same_features(teacher: Teacher, model: Any) -> None:
    for height, width in SIZES:
        images = torch.rand(2, 3, height, width)
        normalized = (images - MEAN) / STD
        patch = model.config.patch_size
        if patch != 16:
            normalized = torch.nn.functional.interpolate(
                normalized, size=(height * patch // 16, width * patch // 16),
                mode="bilinear", align_corners=False, antialias=True,
            )  # fmt: skip
        expected = patch_map(model, normalized)
        assert expected.std() > 0.1
        assert (teacher(images)[16] - expected).abs().max() < 1e-4


def load(path: Path, **options: Any) -> Teacher:
    return load_teacher(TeacherConfig(name="auto", weights=path, **options))


def save(state: State, path: Path) -> Path:
    contiguous = {key: value.clone().contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(contiguous, str(path))
    else:
        torch.save(contiguous, path)
    return path


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_vit_in_every_layout(tmp_path: Path, gated: bool) -> None:
    model = dinov3(gated)
    model.save_pretrained(tmp_path / "folder")
    own = model.state_dict()
    meta = meta_dinov3(model)
    wrapped = {f"teacher.backbone.{key}": value for key, value in meta.items()}
    wrapped["teacher.dino_head.mlp.0.weight"] = torch.zeros(2, 2)
    files = [
        tmp_path / "folder",
        save(own, tmp_path / "newer.safetensors"),
        save(older_dinov3_names(own), tmp_path / "older.safetensors"),
        save(meta, tmp_path / "dinov2_vits14-misleading.pth"),
        save(wrapped, tmp_path / "self_trained.pth"),
    ]
    for file in files:
        teacher = load(file)
        assert teacher.identity.name == "dinov3_vit-128x216"
        assert teacher.identity.licence == "dinov3-license"
        assert_same_features(teacher, model)
    timm_state = load(files[0]).backbone.state_dict()
    assert_same_features(load(save(dict(timm_state), tmp_path / "timm.pth")), model)


@pytest.mark.parametrize(
    ("registers", "gated"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_dinov2_vit_in_every_layout(tmp_path: Path, registers: bool, gated: bool) -> None:
    model = dinov2(registers, gated)
    model.save_pretrained(tmp_path / "folder")
    own = model.state_dict()
    for file in (
        tmp_path / "folder",
        save(own, tmp_path / "newer.safetensors"),
        save(older_dinov2_names(own), tmp_path / "older.bin"),
    ):
        teacher = load(file)
        assert teacher.identity.licence == "apache-2.0"
        assert_same_features(teacher, model)
    timm_state = load(tmp_path / "folder").backbone.state_dict()
    assert_same_features(load(save(dict(timm_state), tmp_path / "timm.pth")), model)


def test_convnext_in_every_layout(tmp_path: Path) -> None:
    model = convnext()
    model.save_pretrained(tmp_path / "folder")
    file = save(model.state_dict(), tmp_path / "newer.safetensors")
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        tokens = model(pixel_values=(images - MEAN) / STD).last_hidden_state[:, 1:]
    expected = tokens.transpose(1, 2).reshape(2, 64, 2, 3)
    for path in (tmp_path / "folder", file):
        teacher = load(path)
        assert [level.stride for level in teacher.levels] == [8, 16, 32]
        assert (teacher(images)[32] - expected).abs().max() < 1e-4
    timm_state = load(file).backbone.state_dict()
    again = load(save(dict(timm_state), tmp_path / "timm.pth"))
    assert (again(images)[32] - expected).abs().max() < 1e-4


def test_a_sharded_folder(tmp_path: Path) -> None:
    model = dinov3(False)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert_same_features(load(tmp_path), model)
    next(tmp_path.glob("model-00001*")).unlink()
    with pytest.raises(InputError, match="shards are missing"):
        load(tmp_path)


def test_pixel_statistics_come_with_the_weights(tmp_path: Path) -> None:
    meta = meta_dinov3(dinov3(False))
    web = load(save(meta, tmp_path / "web.pth"))
    assert web.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    satellite = {**meta, "local_cls_norm.weight": torch.ones(128)}
    found = load(save(satellite, tmp_path / "sat.pth"))
    assert found.mean.flatten().tolist() == pytest.approx([0.430, 0.411, 0.296])
    assert found.std.flatten().tolist() == pytest.approx([0.213, 0.156, 0.143])
    given = load(tmp_path / "sat.pth", mean=(0.1, 0.2, 0.3), licence="own")
    assert given.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert given.identity.licence == "own"
    dinov3(False).save_pretrained(tmp_path / "folder")
    statistics = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.2, 0.1]}
    (tmp_path / "folder" / "preprocessor_config.json").write_text(json.dumps(statistics))
    assert load(tmp_path / "folder").mean.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_two_files_of_one_name_are_two_teachers(tmp_path: Path) -> None:
    """torch.hub would take the second for the first."""
    first, second = meta_dinov3(dinov3(False)), meta_dinov3(dinov3(False))
    second["norm.bias"] = second["norm.bias"] + 1
    images = torch.rand(1, 3, 64, 64)
    maps = []
    for number, state in enumerate((first, second)):
        (tmp_path / str(number)).mkdir()
        teacher = load(save(state, tmp_path / str(number) / "dinov3_vits16-08c60483.pth"))
        maps.append((teacher(images)[16], teacher.identity.sha256))
    assert (maps[1][0] - maps[0][0]).mean() == pytest.approx(1, abs=1e-4)
    assert maps[0][1] != maps[1][1]


def without(key: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("blocks.1.norm2.bias"), "1 missing"),
        (without("blocks.0.attn.qkv.weight"), "no DINOv2 or DINOv3 layout"),
        (lambda state: {**state, "odd.weight": torch.zeros(1)}, r"surplus \(odd.weight\)"),
        (without("patch_embed.proj.weight"), "do not add up"),
    ],
)
def test_damaged_checkpoints_are_named(
    tmp_path: Path, change: Callable[[State], State], message: str
) -> None:
    file = save(change(meta_dinov3(dinov3(False))), tmp_path / "w.pth")
    with pytest.raises(InputError, match=message) as error:
        load(file)
    assert "\n" not in str(error.value)


def test_a_key_bias_is_refused(tmp_path: Path) -> None:
    state = dict(dinov3(False).state_dict())
    state["model.layer.0.attention.k_proj.bias"] = torch.ones(128)
    with pytest.raises(InputError, match="no key bias"):
        load(save(state, tmp_path / "w.safetensors"))


def test_a_folder_without_weights_and_auto_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights in this folder"):
        load(tmp_path)
    with pytest.raises(InputError, match="give FILE"):
        load_teacher(TeacherConfig(name="auto"))
