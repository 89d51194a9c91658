"""What tells others about the project says the same everywhere: version, licence, checks."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest
import yaml

import arbstyle

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == arbstyle.__version__
    assert citation["license"] == "MIT"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_changelog_has_a_section_for_this_version_and_ends_with_the_first():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?([\w.]+)", text, re.MULTILINE)
    assert versions[0] == "Unreleased" or versions[0] == arbstyle.__version__
    assert arbstyle.__version__ in versions
    assert versions[-1] == "0.1.0"


def test_hosted_checks_run_the_one_command_on_three_systems():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["check"]
    assert {name.split("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert ".ci/run" in [step.get("run") for step in job["steps"]]


@pytest.mark.parametrize("script", ["run", "package", "types"])
def test_the_scripts_of_the_check_are_programs(script):
    path = REPOSITORY / ".ci" / script
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert os.name == "nt" or os.access(path, os.X_OK)


def patched_names(source: str) -> list[str]:
    """Names that a test puts something else in place of, by `setattr`, `patch` or assignment."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("setattr", "delattr", "patch", "object"):
                texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
                names += [text for text in texts if isinstance(text, str)]
        elif isinstance(node, ast.Assign):
            names += [
                each.attr
                for each in node.targets
                if isinstance(each, ast.Attribute) and getattr(each.value, "id", "") not in ("self", "cls")
            ]
    return names


def is_private(name: str) -> bool:
    return re.search(r"(^|\.)_[a-z]\w*$", name) is not None


@pytest.mark.parametrize(
    "source",
    [
        'monkeypatch.setattr(module, "_name", 1)',
        'monkeypatch.setattr("arbstyle.module._name", 1)',
        'mock.patch("arbstyle.module._name")',
        "module._name = 1",
    ],
)
def test_a_patched_private_name_is_seen(source: str):
    assert [name for name in patched_names(source) if is_private(name)]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tests").glob("*.py")), ids=lambda path: path.stem)
def test_tests_patch_no_private_name(path: Path):
    private = [name for name in patched_names(path.read_text(encoding="utf-8")) if is_private(name)]
    assert not private, "use a public function, a real file, an argument or the environment"
