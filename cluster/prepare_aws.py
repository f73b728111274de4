"""Makes what cluster/gpu.yaml needs in an AWS account, once, and writes its names into that file.

    python cluster/prepare_aws.py --ssh-from 203.0.113.7/32 [--region us-east-1] [--cluster cluster/gpu.yaml]

A security group named dmlray in the default VPC (open to itself, and for SSH to the given addresses), an encrypted EFS
named dmlray with a mount target in each subnet, the newest Deep Learning Base image, and a token only you can read.
What exists already is used again, so it can be run twice. Needs boto3 and credentials for EC2, EFS and SSM.
"""

import argparse
import ipaddress
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3

NAME = "dmlray"
IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
TOKEN = Path("~/.ray/auth_token")


def security_group(ec2: Any, vpc: str, ssh_from: str) -> str:
    """The id of the closed group. Raises SystemExit where a group of that name is open to the world."""
    filters = [{"Name": "group-name", "Values": [NAME]}, {"Name": "vpc-id", "Values": [vpc]}]
    if groups := ec2.describe_security_groups(Filters=filters)["SecurityGroups"]:
        if open_rules(groups[0]):
            sys.exit(f"security group {groups[0]['GroupId']} ({NAME}) is open to the world: close or delete it first")
        return str(groups[0]["GroupId"])
    group = str(ec2.create_security_group(GroupName=NAME, Description="dmlray, closed", VpcId=vpc)["GroupId"])
    within = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": ssh_from}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[within, ssh])
    return group


def open_rules(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The inbound rules of a group that let the whole world in."""
    world = {"0.0.0.0/0", "::/0"}
    return [
        rule
        for rule in group["IpPermissions"]
        if world & {entry["CidrIp"] for entry in rule.get("IpRanges", [])}
        or world & {entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges", [])}
    ]


def file_system(efs: Any, subnets: list[str], group: str, patience_s: float = 120) -> str:
    """The id of the encrypted EFS, reachable from ``subnets`` by members of ``group``."""
    known = efs.describe_file_systems(CreationToken=NAME)["FileSystems"]
    if not known:
        tags = [{"Key": "Name", "Value": NAME}]
        known = [efs.create_file_system(CreationToken=NAME, Encrypted=True, ThroughputMode="elastic", Tags=tags)]
    name = str(known[0]["FileSystemId"])
    deadline = time.monotonic() + patience_s
    while efs.describe_file_systems(FileSystemId=name)["FileSystems"][0]["LifeCycleState"] != "available":
        if time.monotonic() > deadline:
            sys.exit(f"EFS {name} is not available after {patience_s:g} s: run this again")
        time.sleep(2)
    reached = {target["SubnetId"] for target in efs.describe_mount_targets(FileSystemId=name)["MountTargets"]}
    for subnet in subnets:
        if subnet not in reached:
            efs.create_mount_target(FileSystemId=name, SubnetId=subnet, SecurityGroups=[group])
    return name


def prepare(text: str, region: str, ssh_from: str, image: str | None) -> str:
    """The cluster file's ``text`` with group, file system and image in the places of *-REPLACE."""
    ec2, efs = boto3.client("ec2", region), boto3.client("efs", region)
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        sys.exit(f"region {region} has no default VPC: make one with `aws ec2 create-default-vpc`")
    vpc = vpcs[0]["VpcId"]
    found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    group = security_group(ec2, vpc, ssh_from)
    shared = file_system(efs, [subnet["SubnetId"] for subnet in found], group)
    image = image or boto3.client("ssm", region).get_parameter(Name=IMAGE)["Parameter"]["Value"]
    for old, new in (("sg-REPLACE", group), ("fs-REPLACE", shared), ("ami-REPLACE", image), ("us-east-1", region)):
        text = text.replace(old, new)
    return text


def ssh_source(text: str) -> str:
    """A range of addresses that is not the whole world. Raises argparse.ArgumentTypeError for others."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"an IPv4 range such as 203.0.113.7/32 is needed: {error}") from error
    if network.prefixlen < 8:
        raise argparse.ArgumentTypeError(f"{text} is too much of the world: give your own address as A.B.C.D/32")
    return str(network)


def make_token() -> None:
    """Ray's own token file, readable by its owner only."""
    ray = [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"]
    subprocess.run(ray, stdout=subprocess.DEVNULL, check=True)
    TOKEN.expanduser().chmod(0o600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ssh-from", type=ssh_source, required=True, metavar="A.B.C.D/32")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--image", help="an image of your own instead of the newest Deep Learning Base image")
    parser.add_argument("--cluster", type=Path, default=Path(__file__).with_name("gpu.yaml"))
    given = parser.parse_args()
    make_token()
    given.cluster.write_text(prepare(given.cluster.read_text(), given.region, given.ssh_from, given.image))
    print(f"{given.cluster} is ready: ray up {given.cluster} --yes")


if __name__ == "__main__":
    main()
