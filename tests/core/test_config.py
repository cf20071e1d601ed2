"""Config: every mistake is one line that names the key and the nearest valid one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.config import Config, dump_config, load_config, section_hash
from edgekd_bench.errors import InputError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("distil: {epochs: 3}", [], "unknown key 'distil'; did you mean 'distill'?"),
        ("distill: {epoch: 3}", [], "'distill.epoch'; did you mean 'distill.epochs'?"),
        ("{}", ["train.seed=1"], "'train.seed'; did you mean 'train.seeds'?"),
        ("{}", ["dice_scenes.num_vall=3"], "did you mean 'dice_scenes.num_val'?"),
        ("{}", ["distill.zzz=1"], "valid here: epochs"),
        ("distill: {epochs: many}", [], "distill.epochs: Input should be a valid integer"),
        ("image_size: 100", [], "image_size: Input should be a multiple of 32"),
        ("- 1", [], "mapping of keys"),
        ("a: [", [], "not valid YAML"),
        ("{}", ["image_size"], "write key.sub=value"),
        ("image_size: 64", ["image_size.x=1"], "'image_size' is not a section"),
        ("name: ../up", [], "name:"),
        ("{}", ["distill.losses=[{name: mse, temperature: 2}]"], "takes no temperature"),
        ("{}", ["distill.levels={p3: 0, p4: 0, p5: 0}"], "every level has weight 0"),
        ("{}", ["distill.losses=[]"], "distill.losses"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, overrides: list[str], expected: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(write(tmp_path, text), overrides)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such config file"):
        load_config(tmp_path / "none.yaml")


def test_overrides_win_and_reach_any_depth(tmp_path: Path) -> None:
    file = write(tmp_path, "distill: {epochs: 3, lr: 0.1}")
    config = load_config(file, ["distill.epochs=7", "distill.levels.p3=0", "train.seeds=[1, 2]"])
    assert (config.distill.epochs, config.distill.lr) == (7, 0.1)
    assert config.distill.levels.by_stride() == {16: 1.0, 32: 0.5}
    assert config.train.seeds == (1, 2)


def test_dump_loads_again_as_the_same_config(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "name: x"), ["teacher.mean=[0.1, 0.2, 0.3]"])
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().name = "other"  # type: ignore[misc]


def test_hash_follows_content() -> None:
    one, same, other = Config(), Config(), Config(seed=1)
    assert section_hash(one) == section_hash(same) != section_hash(other)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda p: p.name)
def test_every_recipe_in_configs_loads(file: Path) -> None:
    assert load_config(file).name


def test_there_are_recipes() -> None:
    assert {"demo.yaml", "dice.yaml", "raccoon.yaml"} <= {f.name for f in CONFIGS}
