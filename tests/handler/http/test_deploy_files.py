"""The files in deploy/, against each platform's own description of them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import botocore.session
import jsonschema
import pytest
import yaml
from alibabacloud_fc20230330 import models as function_compute
from botocore.validate import validate_parameters
from cloudcoil.models.knative_serving.serving.v1 import Service as KnativeService
from places import PROJECT
from tencentcloud.scf.v20180416 import models as scf
from yamllint import linter
from yamllint.config import YamlLintConfig

from handler.cli import main
from handler.settings import Settings

DEPLOY = PROJECT / "deploy"
YAML_FILES = ("cloud-run.yaml", "knative.yaml", "kserve.yaml", "function-compute.yaml")
SERVE = ["python", "-m", "handler", "serve"]


def read(name: str):
    return yaml.safe_load((DEPLOY / name).read_text())


def read_json(name: str):
    return json.loads((DEPLOY / name).read_text())


def assert_our_settings(variables) -> None:
    known = {
        alias
        for field in Settings.model_fields.values()
        for alias in field.validation_alias.choices
    }
    assert set(variables) <= known


def closed(schema):
    """Return a JSON Schema that refuses properties it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    names = {"additionalProperties": False} if "properties" in schema else {}
    return names | {key: closed(value) for key, value in schema.items()}


KNATIVE = jsonschema.Draft202012Validator(closed(KnativeService.model_json_schema()))


def given(data):
    """Return what a platform's model holds without the fields that were left out."""
    if isinstance(data, dict):
        return {key: given(value) for key, value in data.items() if value not in (None, [])}
    return [given(value) for value in data] if isinstance(data, list) else data


def container_of(service: dict[str, object]) -> dict[str, object]:
    (container,) = service["spec"]["template"]["spec"]["containers"]
    return container


def test_schema_of_knative_services_refuses_what_it_does_not_know():
    service = read("knative.yaml")
    container_of(service)["imagePullpolicy"] = "Always"
    assert not KNATIVE.is_valid(service)


@pytest.mark.parametrize("name", YAML_FILES)
def test_yaml_is_clean(name):
    config = YamlLintConfig(
        "{extends: default, rules: {document-start: disable, line-length: {max: 100}}}"
    )
    assert list(linter.run((DEPLOY / name).read_text(), config)) == []


@pytest.mark.parametrize("name", ["cloud-run.yaml", "knative.yaml"])
def test_knative_service(name):
    service = read(name)
    KNATIVE.validate(service)
    container = container_of(service)
    assert container["command"] == SERVE
    assert_our_settings(variable["name"] for variable in container["env"])


def test_cloud_run_ends_within_its_ten_seconds():
    environment = {
        variable["name"]: variable.get("value")
        for variable in container_of(read("cloud-run.yaml"))["env"]
    }
    names = ("SHUTDOWN_GRACE_SECONDS", "STOP_GRACE_SECONDS")
    assert sum(float(environment[name]) for name in names) < 10
    assert "PORT" not in environment


def test_kserve_predictor():
    service = read("kserve.yaml")
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    predictor = service["spec"]["predictor"]
    scaling = {"minReplicas", "maxReplicas", "containerConcurrency", "timeout"}
    pod = {key: value for key, value in predictor.items() if key not in scaling}
    KNATIVE.validate(
        {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": service["metadata"],
            "spec": {"template": {"spec": pod}},
        }
    )
    (container,) = pod["containers"]
    assert container["command"] == SERVE
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert_our_settings(environment)
    assert int(environment["PORT"]) == container["ports"][0]["containerPort"]


def test_function_compute_function():
    props = read("function-compute.yaml")["resources"]["worker"]["props"]
    ours = {"region", "triggers"}
    function = {key: value for key, value in props.items() if key not in ours}
    model = function_compute.CreateFunctionInput().from_map(function)
    model.validate()
    assert given(model.to_map()) == function
    assert function["customContainerConfig"]["entrypoint"] == SERVE
    assert_our_settings(function["environmentVariables"])
    assert (
        int(function["environmentVariables"]["PORT"]) == function["customContainerConfig"]["port"]
    )
    (trigger,) = props["triggers"]
    config = function_compute.HTTPTriggerConfig().from_map(trigger["triggerConfig"])
    assert config.to_map() == trigger["triggerConfig"]


def test_scf_function():
    parameters = read_json("tencent-scf.json")
    # Fields that the API lacks are warned of, and warnings are errors here.
    request = scf.CreateFunctionRequest()
    request._deserialize(parameters)
    assert given(json.loads(request.to_json_string())) == parameters
    image = parameters["Code"]["ImageConfig"]
    assert [image["Command"], *shlex.split(image["Args"])] == SERVE
    variables = {item["Key"]: item["Value"] for item in parameters["Environment"]["Variables"]}
    assert_our_settings(variables)
    assert int(variables["PORT"]) == image["ImagePort"] == 9000


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("model", "CreateModel"),
        ("endpoint-config", "CreateEndpointConfig"),
        ("endpoint", "CreateEndpoint"),
    ],
)
def test_sagemaker_request(name, operation):
    api = botocore.session.get_session().get_service_model("sagemaker")
    validate_parameters(
        read_json(f"sagemaker/{name}.json"), api.operation_model(operation).input_shape
    )


def test_sagemaker_endpoint_runs_the_model_on_a_gpu():
    config = read_json("sagemaker/endpoint-config.json")
    model = read_json("sagemaker/model.json")
    (variant,) = config["ProductionVariants"]
    api = botocore.session.get_session().get_service_model("sagemaker")
    assert variant["InstanceType"] in api.shape_for("ProductionVariantInstanceType").enum
    assert variant["InstanceType"].startswith("ml.g")
    assert variant["ModelName"] == model["ModelName"]
    assert (
        read_json("sagemaker/endpoint.json")["EndpointConfigName"] == config["EndpointConfigName"]
    )
    environment = model["PrimaryContainer"]["Environment"]
    assert_our_settings(environment)
    assert environment["PORT"] == "8080"


def test_sagemaker_image_is_the_worker_with_serve_as_its_argument():
    path = DEPLOY / "sagemaker" / "Dockerfile"
    subprocess.run([Path(sys.executable).parent / "hadolint", path], check=True)
    lines = path.read_text().splitlines()
    assert f"ENTRYPOINT {json.dumps(SERVE[:-1])}" in lines
    assert f"CMD {json.dumps(SERVE[-1:])}" in lines


def test_command_that_the_files_name_exists(capsys):
    with pytest.raises(SystemExit) as ended:
        main([*SERVE[3:], "--help"])
    assert ended.value.code == 0
    assert "HTTP" in capsys.readouterr().out
