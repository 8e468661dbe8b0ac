from __future__ import annotations

import argparse

import kubernetes_validate
import pytest
import yaml
from places import PROJECT

from handler.batch.jobs import Shard
from handler.commands import batch as batch_command
from handler.settings import Settings

FILE = PROJECT / "deploy" / "kubernetes-job.yaml"


@pytest.fixture(scope="module")
def job():
    return yaml.safe_load(FILE.read_text())


@pytest.fixture(scope="module")
def worker(job):
    [container] = job["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_job_is_what_kubernetes_documents(job, version):
    """1.31 is the first release with per-index limits and failure policies on by default."""
    kubernetes_validate.validate(job, version, strict=True)


def test_its_arguments_are_a_command_of_ours(worker):
    assert worker["command"] == ["python", "-m", "handler", "batch"]
    parser = argparse.ArgumentParser()
    batch_command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["batch", *worker["args"]])
    assert args.results.startswith("s3://")


def test_share_that_the_comment_proposes_is_one(job):
    [line] = [line for line in FILE.read_text().splitlines() if "--shard=" in line]
    share = line.partition("--shard=")[2].replace("$(JOB_COMPLETION_INDEX)", "3")
    assert Shard.parse(share) == Shard(3, job["spec"]["completions"])


def test_its_variables_are_settings(worker):
    known = {
        name
        for field in Settings.model_fields.values()
        for name in getattr(field.validation_alias, "choices", [])
    }
    assert {variable["name"] for variable in worker["env"]} <= known


def test_status_of_an_unfinished_batch_starts_the_pod_again(job):
    rules = job["spec"]["podFailurePolicy"]["rules"]
    [final] = [rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule]
    assert batch_command.INCOMPLETE not in final
    assert batch_command.SOME_FAILED in final


def test_running_jobs_have_time_to_end(job):
    grace = job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > Settings.model_fields["stop_grace"].default
