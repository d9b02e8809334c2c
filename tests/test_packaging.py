"""The wheel: one import package, both catalogues inside it as data."""

from __future__ import annotations

import ast
import itertools
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from rlrnn.envs.engines import ids

ROOT = Path(__file__).parent.parent
CONFIGURED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONFIGURED["project"]


def test_the_wheel_holds_rlrnn_and_its_data_alone(tmp_path: Path) -> None:
    wheel_builder = pytest.importorskip("hatchling.builders.wheel")
    (path,) = wheel_builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(path).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"rlrnn"}
    for folder in ("envs", "agents"):
        expected = {f"rlrnn/data/{folder}/{file.name}" for file in (ROOT / folder).glob("*.toml")}
        assert expected == {name for name in names if name.startswith(f"rlrnn/data/{folder}/")}
    weights = {f"rlrnn/data/verified/{file.name}" for file in (ROOT / "runs" / "verified").glob("*.zip")}
    assert weights == {name for name in names if name.startswith("rlrnn/data/verified/")} and weights
    assert {"rlrnn/py.typed", "rlrnn/experiment/default_recipe.toml"} <= set(names)


def test_a_wheel_can_be_built_from_the_source_distribution(tmp_path: Path) -> None:
    sdist_builder = pytest.importorskip("hatchling.builders.sdist")
    (path,) = sdist_builder.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    forced = CONFIGURED["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(any(name.startswith(source) for name in names) for source in forced)
    assert not any(name.endswith(".json") for name in names if name.startswith("runs/"))


def test_every_extra_that_an_error_names_exists() -> None:
    assert set(ids.EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


def test_the_tests_run_what_the_extra_fast_brings() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras["fast"]) <= set(extras["test"])


def test_the_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    extras = PROJECT["optional-dependencies"]
    third_party = [extras[name] for name in ("atari", "minigrid", "popgym", "pybullet")]
    games = [*itertools.chain(*third_party), "box2d", "pygame-ce"]
    for requirement in [*PROJECT["dependencies"], *extras["test"], *extras["check"], *games]:
        name = requirement.split(">")[0].split("[")[0].lower()
        assert name in pinned, f"{name} has no exact version in constraints.txt"


def test_the_oldest_versions_that_are_tested_are_those_that_are_allowed() -> None:
    """Requirements of the package and its tests, against what ``make test-lowest`` installs."""
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *extras["fast"], *extras["test"]]:
        name, least = requirement.lower().split(">=")
        assert re.fullmatch(rf"{re.escape(least)}(\.0)*", pinned[name]), requirement
    assert set(CONFIGURED["build-system"]["requires"]) <= set(extras["test"])


def test_coverage_counts_no_lines_of_machine_code() -> None:
    left_out = [re.compile(pattern) for pattern in CONFIGURED["tool"]["coverage"]["report"]["exclude_also"]]
    found = 0
    for path in (ROOT / "rlrnn").rglob("*.py"):
        if "kernels" not in (path.parent.name, path.stem):
            continue
        source = path.read_text(encoding="utf-8")
        for function in ast.parse(source).body:
            for decorator in getattr(function, "decorator_list", []):
                line = source.splitlines()[decorator.lineno - 1]
                assert any(pattern.search(line) for pattern in left_out), f"{path}: {line}"
                found += 1
    assert found > 40
