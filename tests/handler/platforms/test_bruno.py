"""The Bruno collection against the routes that there are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import PROJECT

from handler.contract.event import parse_event
from handler.http.app import make_app
from handler.http.service import Service

FOLDER = PROJECT / "bruno"
RUNPOD = {("post", "/run"), ("post", "/runsync"), ("get", "/status/"), ("post", "/cancel/")}


@dataclass(frozen=True)
class BrunoRequest:
    """What one file asks for; its form is docs.usebruno.com/bru-lang."""

    method: str
    url: str
    body: str | None

    @classmethod
    def read(cls, path: Path) -> BrunoRequest:
        text = path.read_text()
        method, url = re.search(
            r"^(get|post|delete) \{\n  url: (\S+)$", text, re.MULTILINE
        ).groups()
        body = re.search(r"^body:json \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
        return cls(method, url, body and body[1])


REQUESTS = {path: BrunoRequest.read(path) for path in sorted(FOLDER.glob("[hr]*/*.bru"))}


def requests(folder: str) -> list:
    return [
        pytest.param(request, id=path.stem)
        for path, request in REQUESTS.items()
        if path.parent.name == folder
    ]


@pytest.mark.parametrize("request_", requests("http"))
def test_request_is_of_a_route(request_, local_settings):
    paths = make_app(Service(local_settings)).openapi()["paths"]
    path = request_.url.removeprefix("{{url}}").partition("?")[0]
    if path == "/openapi.json":
        return
    assert request_.method in paths[path.replace("{{job_id}}", "{job_id}")]


@pytest.mark.parametrize("request_", requests("runpod"))
def test_request_is_of_runpods_api(request_):
    path = request_.url.removeprefix("{{runpod}}/{{endpoint_id}}")
    path = path.replace("{{runpod_job_id}}", "")
    assert (request_.method, path) in RUNPOD | {("get", "/health")}


@pytest.mark.parametrize("request_", [*requests("http"), *requests("runpod")])
def test_body_is_an_event(request_):
    if request_.body is not None:
        parse_event(json.loads(request_.body))


def test_every_route_for_callers_has_a_request(local_settings):
    paths = make_app(Service(local_settings)).openapi()["paths"]
    asked = {
        (request.method, request.url.removeprefix("{{url}}").partition("?")[0])
        for path, request in REQUESTS.items()
        if path.parent.name == "http"
    }
    routes = {
        (method, path.replace("{job_id}", "{{job_id}}"))
        for path, methods in paths.items()
        for method in methods
        if not path.startswith("/v1/results/")
    }
    assert routes <= asked


def test_every_variable_is_in_every_environment():
    used = {
        name
        for path in FOLDER.glob("*/*.bru")
        for name in re.findall(r"\{\{(\w+)\}\}", path.read_text())
    }
    set_by_scripts = {"job_id", "runpod_job_id"}
    for environment in (FOLDER / "environments").glob("*.bru"):
        text = environment.read_text()
        known = set(re.findall(r"^  (\w+):", text, re.MULTILINE))
        secret = set(re.findall(r"^  (\w+),?$", text, re.MULTILINE))
        assert used - set_by_scripts == known | secret, environment.name
