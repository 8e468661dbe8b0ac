"""Requests drawn at random: each is answered with a code of ours, and the service lives on."""

from __future__ import annotations

import copy
import json
import random

import pytest
from abuse_counts import FACTOR, SEED
from platforms_support.http_server import event

TRIES = 200 * FACTOR
PATHS = ("/v1/invoke", "/v1/jobs", "/v1/jobs/x", "/v1/results/..%2f..%2fx", "/run", "/")
METHODS = ("POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH")
ODD = (
    None,
    True,
    -1,
    1e308,
    2**70,
    "",
    "\0",
    "\ud7ff",
    "../..",
    "A" * 5000,
    [],
    {},
    [[]],
    {"": {}},
)


def body_of(rng: random.Random) -> bytes:
    body = event()
    for _ in range(rng.randint(1, 3)):
        where = body.get("input", body) if rng.random() < 0.5 else body
        where = where if isinstance(where, dict) else body
        name = rng.choice([*where, "images", "params", "job_id", "output", "x"])
        where[name] = copy.deepcopy(rng.choice(ODD))
    text = json.dumps(rng.choice((body, body, body, [body], rng.choice(ODD)))).encode()
    return text[: rng.randrange(len(text))] if rng.random() < 0.2 else text


@pytest.mark.timeout(300 * FACTOR)
@pytest.mark.fault(
    "A request is malformed",
    "it is answered, never as an internal error",
)
def test_generated_request_is_never_an_internal_error(attacked):
    server = attacked(boot=True)
    rng = random.Random(SEED)
    statuses = set()
    for _ in range(TRIES):
        method, path, body = rng.choice(METHODS), rng.choice(PATHS), body_of(rng)
        headers = {"Content-Type": rng.choice(("application/json", "text/plain", "x"))}
        answer = server.client.request(method, path, content=body, headers=headers)
        statuses.add(answer.status_code)
        assert answer.status_code != 500, (method, path, body)
        if "json" in answer.headers.get("content-type", "") and answer.status_code >= 400:
            assert answer.json()["error"]["code"] != "internal", (method, path, body)
    assert {200, 400, 404, 405} <= statuses  # some get through, others are refused
    assert server.get("/health").status_code == 200
