"""Requests that schemathesis draws from the service's own OpenAPI document, valid and not.

Every answer has to be one that the document describes, and none an error of the service.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from abuse_counts import FACTOR, SEED
from pydantic import SecretStr

EXAMPLES = 10 * FACTOR
STATEFUL_SECONDS = 10 * FACTOR


@pytest.mark.slow
@pytest.mark.timeout(300 + 120 * FACTOR)
@pytest.mark.parametrize("token", [None, "long enough"])
@pytest.mark.fault(
    "Requests are drawn from the OpenAPI document, valid and not",
    "every answer is one that the document describes",
)
def test_every_answer_is_one_that_the_openapi_document_describes(attacked, tmp_path, token):
    server = attacked(boot=True, job_timeout=2.0, api_token=token and SecretStr(token))
    command = [
        str(Path(sys.executable).with_name("st")),
        *("run", f"{server.url}/openapi.json", "--no-color", f"--seed={SEED}"),
        *(f"--max-examples={EXAMPLES}", f"--max-time={STATEFUL_SECONDS}"),
        "--checks=all",
        # What the document allows may still be refused: it cannot say which objects are graphs.
        "--exclude-checks=positive_data_acceptance",
    ]
    if token is not None:
        command += ["--header", f"Authorization: Bearer {token}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert server.get("/health").status_code == 200
