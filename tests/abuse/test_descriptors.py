"""Code that writes to descriptors 1 and 2 past the log, or closes them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

START = """
import logging, os, sys, threading, time
from comfyui_runtime.in_process.descriptors import guard_descriptors, mend_descriptors
from handler.log import configure_logging
from handler.settings import load_settings
guard_descriptors()
configure_logging(load_settings(log_format="json"))
log = logging.getLogger("test")
"""


def run(program: str, status: int = 0) -> tuple[str, str]:
    result = subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


def records(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_a_c_library_writes_is_in_the_log_and_pythons_output_where_it_was():
    output, errors = run("""
os.write(2, b"TIFFReadDirectory: Warning, unknown tag\\n")
print("a result")
time.sleep(0.3)
""")
    assert output == "a result\n"
    (record,) = records(errors)
    assert record["text"] == "TIFFReadDirectory: Warning, unknown tag"


def test_what_children_write_is_in_the_log():
    output, errors = run("""
import subprocess
subprocess.run("echo out; echo err >&2", shell=True, check=True)
time.sleep(0.3)
""")
    assert output == ""
    text = " ".join(str(record["text"]) for record in records(errors))
    assert "out" in text
    assert "err" in text


@pytest.mark.slow
@pytest.mark.fault(
    "A library writes 30 MB past the log",
    "they are kept out of it",
)
def test_thirty_megabytes_are_kept_out_of_the_log():
    _, errors = run("""
os.write(1, b"the beginning\\n")
for _ in range(480):
    os.write(2, b"x" * 65536)
os.write(2, b"the end")
time.sleep(1.5)
log.info("done")
""")
    assert len(errors) < 200_000
    written = records(errors)
    assert str(written[0]["text"]).startswith("the beginning")
    left_out = [record for record in written if "bytes_left_out" in record]
    assert sum(record["bytes_left_out"] for record in left_out) > 30_000_000
    assert str(left_out[-1]["text"]).endswith("the end")
    assert written[-1]["event"] == "done"


@pytest.mark.fault(
    "A node closes descriptors 1 and 2",
    "nobody is harmed",
)
def test_node_that_closes_them_harms_nobody():
    output, errors = run("""
os.close(1)
os.close(2)
print("still a result")
log.info("still logged")
mend_descriptors()
os.write(2, b"caught again")
sys.stdout.close()
sys.stderr.close()
os.close(sys.stdout.fileno())
os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
print("and another")
log.info("logged once more")
time.sleep(0.3)
""")
    assert output == "still a result\nand another\n"
    texts = [str(record.get("text", record["event"])) for record in records(errors)]
    assert {"still logged", "caught again", "logged once more"} <= set(texts)


def test_crash_leaves_a_traceback_where_errors_went():
    _, errors = run("os.abort()", status=-6)
    assert "Fatal Python error: Aborted" in errors
