"""Whole data sets by Ray: one cluster of two nodes for all tests; the second node is killed at the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_restyling import contents, manifest, noise

from arbstyle import ArbstyleError
from arbstyle.cli import main
from arbstyle.restyling.job import Job, plan
from arbstyle.restyling.local import LocalEngine
from arbstyle.restyling.ray_engine import RayEngine

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    import ray
    from ray.cluster_utils import Cluster

    sigterm = signal.getsignal(signal.SIGTERM)
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 2**27}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    signal.signal(signal.SIGTERM, sigterm)  # Ray took it
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(24):
        noise((96, 96), number).save(folder / f"{number:02}.png")
    (folder / "broken.png").touch()
    return folder


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paintings")
    for number in range(3):
        noise((64, 64), 100 + number).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def local(photos: Path, paintings: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """What the local engine makes of the photos."""
    output = tmp_path_factory.mktemp("local") / "out"
    job = plan(str(photos), [str(paintings)], output, LocalEngine(1), style_size=64, part_size=1)
    assert [step.failed for step in job.run()][-1] == 1
    return job


def by_ray(cluster: Any, source: Path, paintings: Path, output: Path) -> Job:
    engine = RayEngine(cluster.address)
    return plan(str(source), [str(paintings)], output, engine, style_size=64, part_size=1)


def same(job: Job, local: Job) -> bool:
    folders = [other.notes.with_suffix("") for other in (job, local)]
    return manifest(job) == manifest(local) and contents(folders[0]) == contents(folders[1])


def during(job: Job, event: Callable[[], None], after: int) -> None:
    """Run a job; let something happen once so many pictures are done."""
    happened = False
    for progress in job.run():
        if progress.done >= after and not happened:
            event()
            happened = True
    assert happened


def actors(cluster: Any) -> list[int]:
    """The processes of the cluster's actors."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
    answer = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True)
    rows = [line.split(maxsplit=2) for line in answer.stdout.splitlines()]
    return [int(pid) for pid, parent, name in rows if int(parent) in raylets and "ray::MapWorker" in name]


def test_sigterm_stays_with_whoever_had_it(cluster: Any):
    """The first test here, as Ray connects once in a process."""
    before = signal.getsignal(signal.SIGTERM)
    assert RayEngine(cluster.address).device("auto") == "cpu"
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_by_ray_gives_the_files_of_the_local_engine(
    cluster: Any, local: Job, photos: Path, paintings: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    words = ["dataset", str(photos), "--styles", str(paintings), "-o", str(tmp_path / "out")]
    words += ["--style-size", "64", "--part-size", "1", "--engine", "ray", "--address", cluster.address]
    assert main(words) == 1
    assert "24 painted, 0 were there, 1 failed" in capfd.readouterr().out
    assert contents(tmp_path / "out") == contents(local.notes.with_suffix(""))
    assert (tmp_path / "out.manifest" / "manifest.csv").read_bytes() == local.manifest.read_bytes()


def test_an_input_that_vanishes_is_one_line(cluster: Any, paintings: Path, tmp_path: Path):
    source = tmp_path / "in"
    source.mkdir()
    for number in range(30):
        noise((96, 96), number).save(source / f"{number}.png")
    job = by_ray(cluster, source, paintings, tmp_path / "out")
    with pytest.raises(ArbstyleError, match="has gone or is empty; bring it back"):
        during(job, lambda: os.rename(source, tmp_path / "gone"), after=1)


def test_a_killed_actor_is_started_again(
    cluster: Any, local: Job, photos: Path, paintings: Path, tmp_path: Path
):
    job = by_ray(cluster, photos, paintings, tmp_path / "out")
    killed: list[int] = []

    def kill() -> None:
        killed.extend(actors(cluster)[:1])
        os.kill(killed[0], signal.SIGKILL)
        (job.output / ".arbstyle-0123456789abcdef.png").touch()  # as one that is killed while it writes

    during(job, kill, after=1)
    assert not Path(f"/proc/{killed[0]}").exists()
    assert same(job, local)


def test_the_job_goes_on_without_a_node(
    cluster: Any, local: Job, photos: Path, paintings: Path, tmp_path: Path
):
    (second,) = cluster.worker_nodes
    job = by_ray(cluster, photos, paintings, tmp_path / "out")
    during(job, lambda: cluster.remove_node(second, allow_graceful=False), after=3)
    assert same(job, local)


def test_address_is_for_ray(photos: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["dataset", str(photos), "--styles", "x", "-o", "y", "--address", "auto"]) == 2
    assert "add --engine ray" in capsys.readouterr().err
