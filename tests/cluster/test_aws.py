"""`prepare_aws.py` and Ray's launcher against moto's AWS: what `ray up cluster/gpu.yaml` makes before SSH begins."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from tests.cluster.files import CLUSTER, prepare_aws, prepared

REGION, SSH_FROM = "us-east-1", "203.0.113.7/32"
pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its SSH key there
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield


def filled_in() -> dict[str, Any]:
    image = boto3.client("ec2", REGION).describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    text = prepare_aws().prepare((CLUSTER / "gpu.yaml").read_text(), REGION, SSH_FROM, image)
    assert "REPLACE" not in text
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def rules(group: str) -> list[dict[str, Any]]:
    found = boto3.client("ec2", REGION).describe_security_groups(GroupIds=[group])["SecurityGroups"]
    permissions: list[dict[str, Any]] = found[0]["IpPermissions"]
    return permissions


def test_the_group_is_closed_and_made_once(aws: None) -> None:
    first, again = filled_in(), filled_in()
    assert first == again
    (group,) = first["available_node_types"]["head"]["node_config"]["SecurityGroupIds"]
    inbound = {rule["IpProtocol"]: rule for rule in rules(group)}
    assert inbound["-1"]["UserIdGroupPairs"][0]["GroupId"] == group
    assert not inbound["-1"]["IpRanges"]
    assert (inbound["tcp"]["FromPort"], inbound["tcp"]["ToPort"]) == (22, 22)
    assert [entry["CidrIp"] for entry in inbound["tcp"]["IpRanges"]] == [SSH_FROM]
    (shared,) = boto3.client("efs", REGION).describe_file_systems()["FileSystems"]
    assert shared["Encrypted"]


def test_an_open_group_of_that_name_is_refused(aws: None) -> None:
    ec2 = boto3.client("ec2", REGION)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="dmlray", Description="open", VpcId=vpc)["GroupId"]
    world = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[world])
    with pytest.raises(SystemExit, match="open to the world"):
        filled_in()


@pytest.mark.parametrize("text", ["0.0.0.0/0", "0.0.0.0/1", "me", "203.0.113.7/99"])
def test_ssh_from_everywhere_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        prepare_aws().ssh_source(text)


def test_ray_launches_what_the_file_says(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.aws import config as aws_config
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    monkeypatch.setattr(aws_config.time, "sleep", lambda seconds: None)  # it waits for IAM to propagate
    config = aws_config.bootstrap_aws(prepared(filled_in()))
    before = {group["GroupId"] for group in boto3.client("ec2", REGION).describe_security_groups()["SecurityGroups"]}
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind, node in config["available_node_types"].items():
        provider.create_node(node["node_config"], {"ray-node-name": kind, "ray-user-node-type": kind}, 1)
    reservations = boto3.client("ec2", REGION).describe_instances()["Reservations"]
    launched = [instance for reservation in reservations for instance in reservation["Instances"]]
    assert {instance["InstanceType"] for instance in launched} == {
        node["node_config"]["InstanceType"] for node in config["available_node_types"].values()
    }
    (group,) = config["available_node_types"]["head"]["node_config"]["SecurityGroupIds"]
    for instance in launched:
        assert [found["GroupId"] for found in instance["SecurityGroups"]] == [group]
        assert (instance.get("InstanceLifecycle") == "spot") == (instance["InstanceType"] != "m7i.xlarge")
    assert SSH_FROM in str(rules(group))
    assert "0.0.0.0/0" not in str(rules(group))
    after = {group["GroupId"] for group in boto3.client("ec2", REGION).describe_security_groups()["SecurityGroups"]}
    assert after == before, "Ray made a group of its own"


def test_the_declared_resources_are_those_of_the_instances(aws: None) -> None:
    """`dmlray plan` reads them from the file; Ray asks AWS."""
    ec2 = boto3.client("ec2", REGION)
    for kind, node in filled_in()["available_node_types"].items():
        name = node["node_config"]["InstanceType"]
        (found,) = ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
        if kind != "head":
            assert node["resources"]["CPU"] == found["VCpuInfo"]["DefaultVCpus"]
        assert node["resources"].get("GPU", 0) == sum(gpu["Count"] for gpu in found.get("GpuInfo", {}).get("Gpus", []))
