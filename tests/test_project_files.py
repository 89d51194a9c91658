"""What tells others about the project says the same everywhere: version, licence, checks."""

from __future__ import annotations

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
