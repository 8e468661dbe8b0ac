from __future__ import annotations

import json

from handler.contract.schema import event_schema, response_schema


def test_schema_of_events_is_printed(run):
    status, out, _ = run("schema")
    assert status == 0
    assert json.loads(out) == event_schema()


def test_schema_of_responses_is_printed(run):
    status, out, _ = run("schema", "--response")
    assert status == 0
    assert json.loads(out) == response_schema()


def test_schema_for_a_workflow_has_its_parameters(run):
    status, out, _ = run("schema", "--workflow", "look")
    assert status == 0
    params = json.loads(out)["$defs"]["JobInput"]["properties"]["params"]["properties"]
    assert params["steps"]["maximum"] == 50
    assert "größer" in out


def test_unknown_workflow_is_told_with_those_that_there_are(run):
    status, out, err = run("schema", "--workflow", "../look")
    assert (status, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["code"] == "unknown_workflow"
    assert error["details"] == {"allowed": ["look"]}


def test_responses_have_no_workflow(run):
    status, _, err = run("schema", "--response", "--workflow", "look")
    assert status == 2
    assert "not allowed with" in err
