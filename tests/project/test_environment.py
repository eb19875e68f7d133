"""The conda file, the pins and the citation agree with pyproject.toml; checked without conda or a network."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
EXTRAS = set(PROJECT["optional-dependencies"])
HOST = re.compile(r"://|\bwww\.|\b[\w-]+\.(?:com|org|net|io|dev)\b|--(?:extra-)?index-url|--find-links|(?:^|\s)-[if]\s")


def pins() -> dict[str, Version]:
    """Pinned version by canonical name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
        assert match, f"not a plain pin: {line!r}"
        name = canonicalize_name(match[1])
        assert name not in found, f"{name} is pinned twice"
        found[name] = Version(match[2])
    return found


@pytest.fixture(scope="module")
def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_conda_installs_python_and_pip_only(environment: dict) -> None:
    assert environment["name"] == "synthlab"
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert [re.split(r"[=<>]", d)[0] for d in conda] == ["python", "pip"]
    assert conda[1] == "pip"


def test_conda_python_is_one_that_the_project_accepts(environment: dict) -> None:
    version = environment["dependencies"][0].removeprefix("python=")
    assert f"{version}.0" in SpecifierSet(PROJECT["requires-python"])


def test_pip_installs_the_checkout_under_constraints(environment: dict) -> None:
    others = [d for d in environment["dependencies"] if not isinstance(d, str)]
    assert others == [{"pip": ["-c constraints.txt", "-e .[dev]"]}]
    assert "dev" in EXTRAS


@pytest.mark.parametrize("requirement", [Requirement(r) for r in REQUIREMENTS], ids=str)
def test_every_requirement_is_met_by_its_pin(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    assert name in pins(), f"{name} has no pin in constraints.txt"
    assert pins()[name] in requirement.specifier


def test_the_extras_are_the_known_ones() -> None:
    assert {"dev", "bench", "scatter"} == EXTRAS


def test_the_project_does_not_pin_itself() -> None:
    assert "synthlab" not in pins()
    assert pins()["torch"] == Version("2.13.0")


@pytest.mark.parametrize("name", ["constraints.txt", "environment.yml"])
def test_files_name_no_build_and_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "+" not in text
    assert not HOST.findall(text)


def test_makefile_installs_under_the_same_constraints() -> None:
    text = (ROOT / "Makefile").read_text()
    assert "-c constraints.txt" in text
    assert "-e '.[dev]'" in text


def test_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert (citation["title"], citation["version"]) == (PROJECT["name"], PROJECT["version"])
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert [a["family-names"] for a in paper["authors"]] == ["Voigt", "Giesen", "Habeck"]
    assert "arXiv:2604.27551" in [i["value"] for i in paper["identifiers"]]
