"""Each platform's contract, as docs/http.md states it, against the running server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from platforms_support.http_server import (
    PICTURE,
    boot_service,
    error_of,
    event,
    slow,
)

from handler.contract.job_id import JobId
from handler.http.service import Service

FC_HEADERS = {"Content-Type": "application/octet-stream", "x-fc-request-id": "1-68a0-fc"}
SCF_HEADERS = {"X-Scf-Request-Id": "70dc-scf", "X-Scf-Memory": "8192"}


class TestFunctionCompute:
    def test_invocation(self, server):
        content = json.dumps(event()).encode()
        response = server.client.post("/invoke", content=content, headers=FC_HEADERS)
        assert (response.status_code, response.headers["x-fc-status"]) == (200, "200")
        assert response.json()["job_id"] == "1-68a0-fc"

    @pytest.mark.parametrize("content", [b"{", json.dumps(event("fail")).encode()])
    def test_failure_is_reported_as_one(self, server, content):
        response = server.client.post("/invoke", content=content, headers=FC_HEADERS)
        assert (response.status_code, response.headers["x-fc-status"]) == (404, "404")
        assert response.json()["job_id"] == "1-68a0-fc"
        assert response.json()["error"]["code"] in {"malformed_json", "node_failed"}

    def test_initializer_waits_for_the_start(self, make_server, runtime):
        server = make_server(boot=False)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.client.post, "/initialize", headers=FC_HEADERS)
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
            boot_service(server.service, runtime)
            assert waiting.result().status_code == 200

    def test_initializer_fails_with_the_start(self, make_server):
        server = make_server(boot=False, boot_timeout=0.1)
        response = server.client.post("/initialize", headers=FC_HEADERS)
        assert error_of(response, 404, "booting")

    def test_pre_stop_waits_for_jobs_under_way(self, server):
        server.submit(slow(20, id="last"))
        server.running("last")
        assert server.get("/pre-stop", headers=FC_HEADERS).status_code == 200
        assert server.get("/v1/jobs/last").json()["status"] == "succeeded"

    def test_pre_stop_tells_that_a_job_did_not_end(self, make_server):
        server = make_server(shutdown_grace=0.1)
        server.submit(slow(1000, id="endless"))
        assert server.get("/pre-stop", headers=FC_HEADERS).status_code == 404


class TestTencentScf:
    def test_event_function(self, server):
        response = server.post("/event-invoke", event(), headers=SCF_HEADERS)
        assert response.status_code == 200
        assert response.json()["job_id"] == "70dc-scf"
        failed = server.post("/event-invoke", event("fail"), headers=SCF_HEADERS)
        assert error_of(failed, 500, "node_failed")["job_id"] == "70dc-scf"

    def test_web_function(self, server):
        response = server.post("/v1/invoke", event(), headers=SCF_HEADERS)
        assert response.json()["job_id"] == "70dc-scf"

    def test_server_answers_before_the_start_is_done(self, make_server):
        """The server has to listen within 30 seconds."""
        assert make_server(boot=False).get("/health").status_code == 200


class TestSageMaker:
    def test_ping_follows_readiness(self, make_server, runtime):
        server = make_server(boot=False)
        assert server.get("/ping").status_code == 503
        boot_service(server.service, runtime)
        ping = server.get("/ping")
        assert (ping.status_code, ping.content) == (200, b"")
        server.service.stop()
        assert server.get("/ping").status_code == 503

    def test_invocation(self, server):
        headers = {
            "X-Amzn-SageMaker-Inference-Id": "inference-5",
            "X-Amzn-SageMaker-Custom-Attributes": "trace=7",
        }
        response = server.post("/invocations", event(), headers=headers)
        assert response.status_code == 200
        assert response.json()["job_id"] == "inference-5"
        # Asynchronous inference refuses responses without it.
        assert int(response.headers["content-length"]) == len(response.content)
        error_of(server.post("/invocations", event("fail")), 500, "node_failed")


class TestCloudRunAndKnative:
    """They name the port in $PORT and stop with SIGTERM: see test_process."""

    def test_address_behind_a_proxy_beside_the_server_is_the_callers(self, make_server):
        server = make_server(allowed_hosts=frozenset({"*.run.app"}))
        headers = {"Host": "comfyui-abc.a.run.app", "X-Forwarded-Proto": "https"}
        (output,) = server.post("/v1/invoke", event(), headers=headers).json()["outputs"]
        assert output["url"].startswith("https://comfyui-abc.a.run.app/v1/results/")

    def test_probes(self, server):
        assert server.get("/health").status_code == 200
        assert server.get("/ready").status_code == 200


class TestKServe:
    def test_models_are_the_workflows(self, server):
        assert "invert" in server.get("/v1/models").json()["models"]
        assert server.get("/v1/models/invert").json() == {"name": "invert", "ready": True}
        error_of(server.get("/v1/models/nothing"), 404, "unknown_workflow")

    def test_prediction(self, server):
        body = {"instances": [{"image": PICTURE}, {"image": PICTURE, "output": {"format": "webp"}}]}
        response = server.post("/v1/models/invert:predict", body)
        assert response.status_code == 200
        predictions = response.json()["predictions"]
        kinds = [prediction["outputs"][0]["content_type"] for prediction in predictions]
        assert kinds == ["image/png", "image/webp"]
        assert server.get(predictions[1]["outputs"][0]["url"]).status_code == 200

    def test_failed_instance(self, server):
        body = {"id": "batch", "instances": [{"image": PICTURE}, {"image": "nonsense!"}]}
        response = server.post("/v1/models/invert:predict", body)
        assert response.status_code >= 400
        assert response.json()["error"]
        statuses = [prediction["status"] for prediction in response.json()["predictions"]]
        assert statuses == ["succeeded", "failed"]
        assert response.json()["predictions"][1]["job_id"] == "batch-1"

    @pytest.mark.parametrize("body", [{}, {"instances": []}, {"instances": [5]}, [], "x"])
    def test_body_of_another_shape(self, server, body):
        error_of(server.post("/v1/models/invert:predict", body), 422, "invalid_event")


def test_events_own_id_wins_over_the_platforms(server):
    body = event(id="own")
    response = server.post("/v1/invoke", body, headers={"x-fc-request-id": "theirs"})
    assert response.json()["job_id"] == "own"


def test_service_needs_no_platform(local_settings):
    assert Service(local_settings).stage == "booting"


ID_HEADERS = {
    "/invoke": "x-fc-request-id",
    "/event-invoke": "x-scf-request-id",
    "/invocations": "x-amzn-sagemaker-inference-id",
    "/v1/invoke": "x-fc-request-id",
}


@pytest.mark.parametrize("path", ID_HEADERS)
def test_refused_event_has_one_id_in_the_log_and_in_the_answer(server, path, json_log):
    headers = {ID_HEADERS[path]: "theirs/7"}
    named = server.post(path, {"input": 5}, headers=headers).json()
    assert (named["job_id"], named["given_id"]) == (JobId.of("theirs/7"), "theirs/7")
    unnamed = server.post(path, {"input": 5}).json()
    assert unnamed["given_id"] is None
    refused = [line for line in json_log if line["event"] == "job refused"]
    assert [line["job_id"] for line in refused] == [named["job_id"], unnamed["job_id"]]
