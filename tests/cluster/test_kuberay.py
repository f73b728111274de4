"""`cluster/kuberay.yaml`: valid by the CRDs of KubeRay as `kuberay_schema.yaml` has them, closed, bounded."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.cluster.files import CLUSTER

SCHEMA = yaml.safe_load(Path(__file__).with_name("kuberay_schema.yaml").read_text())
KINDS = {"RayCluster": "cluster", "RayJob": "job"}


def documents() -> dict[str, dict[str, Any]]:
    text = (CLUSTER / "kuberay.yaml").read_text()
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def problems(document: dict[str, Any]) -> list[str]:
    """What the API server would say of a RayCluster or a RayJob."""
    validator = Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{KINDS[document['kind']]}"})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document["spec"])]


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifests_are_valid(kind: str) -> None:
    document = documents()[kind]
    assert document["apiVersion"] == "ray.io/v1"
    assert problems(document) == []


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("kind", "place", "value", "problem"),
    [
        ("RayCluster", ("authOptions", "mode"), "tokens", "'tokens' is not one of ['disabled', 'token']"),
        ("RayCluster", ("rayVersion",), 2.6, "2.6 is not of type 'string'"),
        ("RayCluster", ("headGroupSpec", "rayStartParams", "num-cpus"), 0, "0 is not of type 'string'"),
        ("RayCluster", ("headGroupSpec", "replicas"), 1, "'replicas' was unexpected"),
        ("RayCluster", ("workerGroupSpecs", 0, "maxReplicas"), "4", "'4' is not of type 'integer'"),
        ("RayCluster", ("workerGroupSpecs", 0, "template", "spec", "volums"), [], "'volums' is not one of"),
        (
            "RayCluster",
            ("workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits", "memory"),
            "30 GB",
            "'30 GB' does not match",
        ),
        ("RayJob", ("clusterSelector",), ["dmlray"], "is not of type 'object'"),
        ("RayJob", ("entryPoint",), "dmlray", "'entryPoint' was unexpected"),
    ],
)
def test_what_is_wrong_would_be_found(kind: str, place: tuple[str | int, ...], value: object, problem: str) -> None:
    document = copy.deepcopy(documents()[kind])
    part = document["spec"]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    assert any(problem in sentence for sentence in problems(document))


@pytest.mark.parametrize("missing", ["groupName", "minReplicas", "maxReplicas", "template"])
def test_what_is_missing_would_be_found(missing: str) -> None:
    document = documents()["RayCluster"]
    del document["spec"]["workerGroupSpecs"][0][missing]
    assert problems(document) == [f"$.workerGroupSpecs[0]: '{missing}' is a required property"]


def test_the_token_is_on_and_the_ports_are_closed() -> None:
    cluster, policy = documents()["RayCluster"], documents()["NetworkPolicy"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert tuple(int(part) for part in cluster["spec"]["rayVersion"].split(".")) >= (2, 52, 0)
    assert cluster["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_spending_is_bounded_and_the_job_runs_on_the_cluster() -> None:
    cluster, job = documents()["RayCluster"], documents()["RayJob"]
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] <= 8
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert job["spec"]["entrypoint"].startswith("dmlray search --address auto ")


def test_every_pod_has_one_image_and_the_shared_folder() -> None:
    cluster, job = documents()["RayCluster"], documents()["RayJob"]
    pods = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    containers = [pod["template"]["spec"]["containers"][0] for pod in pods]
    submitter = job["spec"]["submitterPodTemplate"]["spec"]["containers"][0]
    assert len({container["image"] for container in [*containers, submitter]}) == 1
    for container in containers:
        assert {"name": "shared", "mountPath": "/mnt/dmlray"} in container["volumeMounts"]
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_versions_are_those_of_the_lock() -> None:
    locked = (CLUSTER / "requirements.txt").read_text()
    ray = documents()["RayCluster"]["spec"]["rayVersion"]
    assert f"\nray=={ray}\n" in locked
    assert f"rayproject/ray:{ray}-" in (CLUSTER / "Dockerfile").read_text()
