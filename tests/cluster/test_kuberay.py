"""`cluster/kuberay.yaml`: fields that KubeRay's Go types know (raycluster_types.go, rayjob_types.go), closed, bounded.

The operator's CRDs, which hold the whole schema of a pod, are not at hand here.
"""

from typing import Any

import yaml

from tests.cluster.files import CLUSTER

CLUSTER_FIELDS = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling"}
HEAD_FIELDS = {"serviceType", "rayStartParams", "template"}
WORKER_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
JOB_FIELDS = {"clusterSelector", "entrypoint", "submitterPodTemplate", "submissionMode", "shutdownAfterJobFinishes"}


def documents() -> dict[str, dict[str, Any]]:
    text = (CLUSTER / "kuberay.yaml").read_text()
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_manifests_have_the_fields_of_their_kinds() -> None:
    cluster, job = documents()["RayCluster"], documents()["RayJob"]
    assert cluster["apiVersion"] == job["apiVersion"] == "ray.io/v1"
    assert set(cluster["spec"]) <= CLUSTER_FIELDS
    assert set(cluster["spec"]["headGroupSpec"]) <= HEAD_FIELDS
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert set(group) <= WORKER_FIELDS
    assert set(job["spec"]) <= JOB_FIELDS
    params = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert all(isinstance(value, str) for part in params for value in part["rayStartParams"].values())


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
