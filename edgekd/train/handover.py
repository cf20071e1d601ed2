"""Carry backbone weights into a detector, and prove that they arrived.

Trainers rebuild the model from its YAML after the caller has loaded weights, and then train from
random numbers without a word. So the weights go in where the trainer builds its model, and right
before the first step the trainer's own tensors are compared with the file's, one by one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from edgekd.config import Scope
from edgekd.distill.checkpoint import BACKBONE_FORMAT, tensors_hash
from edgekd.files import NeedsCodeError, read_without_code
from edgekd.models.student import backbone_state
from edgekd_bench.errors import GateError, InputError
from edgekd_bench.manifest import TeacherIdentity, sha256_of
from edgekd_bench.ultralytics_checkpoint import load_detector


@dataclass(frozen=True)
class BackboneWeights:
    """Backbone tensors under the detector's names, and where they come from."""

    path: Path
    tensors: dict[str, torch.Tensor]
    sha256: str
    source: str
    teacher: TeacherIdentity | None
    scope: Scope = "backbone"


@dataclass(frozen=True)
class HandoverProof:
    """How many backbone tensors of the trainer equal the file's, and the hash of the file's."""

    num_equal: int
    num_total: int
    tensors_hash: str
    scope: Scope = "backbone"

    def __str__(self) -> str:
        return (
            f"{self.num_equal} of {self.num_total} {self.scope} tensors equal, "
            f"hash {self.tensors_hash}"
        )


def read_backbone_weights(path: Path) -> BackboneWeights:
    """Read an edgekd backbone, an Ultralytics ``.pt`` or a LightlyTrain export.

    Raises:
        InputError: missing, damaged, or none of these.
    """
    plain = _plain_content(path)
    if plain is not None and plain.get("format") == BACKBONE_FORMAT:
        metadata = json.loads(plain["metadata"])
        if metadata["tensors_hash"] != tensors_hash(plain["tensors"]):
            raise InputError(
                f"{path}: its tensors do not have the hash in its metadata; distil again"
            )
        teacher = TeacherIdentity.model_validate(metadata["teacher"])
        scope = metadata.get("scope", "backbone")
        return BackboneWeights(path, plain["tensors"], sha256_of(path), "edgekd", teacher, scope)
    if plain is not None:
        tensors = _state_dict_in(plain, path)
        return BackboneWeights(path, tensors, sha256_of(path), "state dict", None)
    model = load_detector(path)
    tensors = {k: v.detach().clone() for k, v in backbone_state(model).items()}
    return BackboneWeights(path, tensors, sha256_of(path), "Ultralytics checkpoint", None)


def load_backbone(detector: nn.Module, weights: BackboneWeights) -> None:
    """Copy ``weights`` into the backbone of ``detector``; every tensor must fit.

    Raises:
        InputError: weights of another model; names the first tensors that differ.
    """
    own = backbone_state(detector, weights.scope)
    missing = sorted(set(own) - set(weights.tensors))
    misshapen = [
        f"{name} {tuple(weights.tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights.tensors and weights.tensors[name].shape != own[name].shape
    ]
    surplus = [name for name in weights.tensors if name not in own and weights.source == "edgekd"]
    for kind, names in (("missing", missing), ("misshapen", misshapen), ("surplus", surplus)):
        if names:
            raise InputError(
                f"{weights.path}: backbone weights of another model than "
                f"{cast(Any, detector).yaml.get('yaml_file', 'this student')}: {len(names)} of "
                f"{len(own)} tensors {kind}, for example {names[0]}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights.tensors[name])


def prove_handover(detectors: dict[str, nn.Module], weights: BackboneWeights) -> HandoverProof:
    """Compare the tensors of each detector (the trainer's model and its EMA) with the file's.

    Raises:
        GateError: any tensor differs: training would not start from these weights.
    """
    proof = HandoverProof(0, 0, "")
    for role, detector in detectors.items():
        own = backbone_state(detector, weights.scope)
        different = [
            name
            for name, tensor in own.items()
            if not torch.equal(
                tensor.detach().cpu().float(), weights.tensors[name].detach().cpu().float()
            )
        ]
        digest = tensors_hash({name: weights.tensors[name] for name in own})
        proof = HandoverProof(len(own) - len(different), len(own), digest, weights.scope)
        if different:
            raise GateError(
                f"hand-over failed: {proof.num_total - proof.num_equal} of {proof.num_total} "
                f"backbone tensors of the trainer's {role} are not those of {weights.path} "
                f"(first: {different[0]}); training was stopped before its first step"
            )
    return proof


def _plain_content(path: Path) -> dict[str, Any] | None:
    """Content of a file that needs no code to load; None for a pickled checkpoint.

    Raises:
        InputError: the file is damaged.
    """
    try:
        content = read_without_code(path)
    except NeedsCodeError:
        return None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no weights but {type(content).__name__}")
    # Once Ultralytics has read a checkpoint, torch counts its classes as safe and loads networks.
    holds_network = any(isinstance(content.get(key), nn.Module) for key in ("ema", "model"))
    return None if holds_network else content


def _state_dict_in(content: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Tensors named ``model.N.…`` of a state dict, also nested or with a longer prefix."""
    for key in ("state_dict", "model", "student"):
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = {}
    for name, value in content.items():
        if isinstance(value, torch.Tensor) and "model." in name:
            tensors[name[name.rindex("model.") :]] = value
    if not tensors:
        raise InputError(
            f"{path}: holds no tensors named model.N.…, as an Ultralytics backbone has"
        )
    return tensors
