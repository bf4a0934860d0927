"""What each function asks AWS for is what its role allows: nothing is denied, and nothing is allowed in vain.

The functions run as they are deployed, through an hour, a drill and a restore; each request is looked up in the
policies of the role that the template gives to the function that sent it.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest

from hikae.domain.model import Region
from hikae.runtime import wiring
from local.chaos.operations import IMAGES, SLOT, SNAPSHOTS, World
from local.chaos.stage import Stage
from local.inprocess import PRIMARY, RECOVERY
from local.twin.faults import Asked, intercepted, read_request
from tests.template import sites
from tests.template.sites import as_list

SITES = {PRIMARY: sites.primary, RECOVERY: sites.recovery}
DRILL = """\
drill:
  schedule: "0 * * * *"
  group_by: tag:Service
  probes: [status-checks, {tcp: 443}, {ssm: "systemctl is-active app"}, {console: "login:"}]
"""
EQUIVALENT = {
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:HEAD": "s3:GetObject",
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
    "sqs:SendMessageBatch": "sqs:SendMessage",
}

BY_AWS_ITSELF = {
    # Lambda writes logs, reads queues, sends what failed on, and makes interfaces in a VPC, all as the function:
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:UnassignPrivateIpAddresses",
    # EC2 and S3 use keys, and EC2 tags what it makes and passes profiles, as the caller:
    # https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "ec2:CreateTags",
    "iam:PassRole",
    # GetLaunchTemplateData asks these in turn, as the caller:
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetLaunchTemplateData.html
    "ec2:DescribeInstanceCreditSpecifications",
    "ec2:DescribeSpotInstanceRequests",
    # CreateVpcEndpoint asks this one where names are to be private, as the Service Authorization Reference has it.
    "route53:AssociateVPCWithHostedZone",
    # EC2 resolves an image that a launch template names by a parameter as the caller:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-launch-template.html#use-an-ssm-parameter-instead-of-an-ami-id
    "ssm:GetParameters",
}
RARELY = {
    # The lock's record is read where DynamoDB does not say what was there.
    # Targets are asked for where there are target groups.
    "BuildImages": {"dynamodb:GetItem", "elasticloadbalancing:DescribeTargetHealth"},
    "SnapshotVolumes": {"dynamodb:GetItem", "elasticloadbalancing:DescribeTargetHealth"},
    "ProbeNetwork": {"ec2:DescribeSubnets"},  # Lambda's own
    "PruneRecoveryPoints": {
        "ec2:DescribeLaunchTemplateVersions",  # where there are launch templates
        "rbin:GetRule",  # where RequireRecycleBin is true
        "rbin:ListRules",
        "s3:GetObjectVersion",  # where a plan was removed
        "s3:ListBucketVersions",
    },
    "Recover": {
        "ec2:AssociateAddress",  # where the settings name addresses, target groups and security groups to connect
        "ec2:DescribeAddresses",
        "ec2:DescribePlacementGroups",
        "ec2:ModifyNetworkInterfaceAttribute",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:RegisterTargets",
        "ec2:DescribeKeyPairs",  # where an instance has a key pair or a profile
        "iam:GetInstanceProfile",
        "servicequotas:ListAWSDefaultServiceQuotas",  # where a quota was never changed
        "ec2:AuthorizeSecurityGroupEgress",  # where a drill is of two instances or more
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateSecurityGroup",
        "ec2:DeleteSecurityGroup",
        "ec2:RevokeSecurityGroupEgress",
    },
}


@cache
def seen() -> frozenset[tuple[str, Region, Asked]]:
    """Every request, with the function that sent it and where that ran."""
    found: set[tuple[str, Region, Asked]] = set()
    for world in (SNAPSHOTS, IMAGES):
        found.update(_run(world))
    return frozenset(found)


def _run(world: World) -> Iterator[tuple[str, Region, Asked]]:
    found: list[tuple[str, Region, Asked]] = []
    with Stage({name: text + DRILL for name, text in world.plans.items()}) as stage:
        function = ""

        def process(request: Any, go_on: Any) -> Any:
            if function:
                found.append((function, RECOVERY, read_request(request)))
            elif stage.current:
                found.append((stage.current[0], stage.current[2], read_request(request)))
            return go_on(request)

        with intercepted(process):
            world.populate(stage)
            _tag_everything(stage)
            stage.run_until(SLOT + timedelta(minutes=50))
            stage.invoke("ReportObjectives", {}, region=RECOVERY)
            installation = stage.installation
            installation.set_recovery_settings(
                f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
                f"default_security_groups: [{installation.restore_vpc['group']}]\n"
            )
            function = "Recover"
            [plan] = world.plans
            for mode in ("drill", "restore"):
                player = installation.recover(f"{mode}-1")
                player.play({"request": {"mode": mode, "plan": plan, "group": "shop", "started_by": "test"}})
            installation.sweep()
            installation.start_drills()
            wiring.readiness(installation.recovery, asks_primary=True, imports_keys=False, now=stage.now)
            function = ""
    yield from found


def _tag_everything(stage: Stage) -> None:
    """Put all of the fleet into one group."""
    ec2 = stage.twin.client("ec2", PRIMARY)
    instances = [each["InstanceId"] for r in ec2.describe_instances()["Reservations"] for each in r["Instances"]]
    volumes = [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"] if not each["Attachments"]]
    ec2.create_tags(Resources=[*instances, *volumes], Tags=[{"Key": "Service", "Value": "shop"}])


def action_of(asked: Asked) -> str:
    """The IAM action that a request needs; Lambda's requests are named by their paths."""
    if asked.service == "lambda" and asked.action.endswith("/invocations"):
        return "lambda:InvokeFunction"
    return EQUIVALENT.get(str(asked), str(asked))


def is_allowed(statement: Mapping[str, Any], asked: Asked) -> bool:
    """Whether a statement allows a request, as far as its action, its Region and, in S3, its key go."""
    if statement["Effect"] != "Allow" or action_of(asked) not in as_list(statement["Action"]):
        return False
    return any(_covers(resource, asked) for resource in as_list(statement["Resource"]))


def _covers(resource: Any, asked: Asked) -> bool:
    text = resource if isinstance(resource, str) else json.dumps(resource)
    if text == "*" or not isinstance(resource, str):
        return True  # of a resource of the same stack only the name is not known yet
    _, _, service, region, *_, name = text.split(":", 5)
    if service == "s3":
        return fnmatchcase(asked.about, name.partition("/")[2]) if asked.about else "/" not in name
    return fnmatchcase(asked.region, region)


@pytest.mark.parametrize("region", SITES)
def test_nothing_that_a_function_asks_for_is_denied(region: Region) -> None:
    site = SITES[region]()
    denied = sorted(
        f"{function} {action_of(asked)} in {asked.region} {asked.about}".strip()
        for function, where, asked in seen()
        if where == region
        and not any(is_allowed(statement, asked) for statement in site.statements(site.role_of(function)))
    )
    assert denied == []


def test_every_function_was_seen() -> None:
    functions = {function for site in SITES.values() for function in site().of_type("AWS::Lambda::Function")}
    assert functions - {function for function, *_ in seen()} == {"ProbeNetwork"}  # which makes no AWS calls


@pytest.mark.parametrize("region", SITES)
def test_nothing_is_allowed_that_no_function_asks_for(region: Region) -> None:
    site = SITES[region]()
    allowed = {
        f"{function} {action}"
        for function in site.of_type("AWS::Lambda::Function")
        for statement in site.statements(site.role_of(function))
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        if action not in BY_AWS_ITSELF
    }
    used = {f"{function} {action_of(asked)}" for function, where, asked in seen() if where == region}
    rare = {f"{function} {action}" for function, actions in RARELY.items() for action in actions}
    assert allowed - used - rare == set()
    assert not rare & used, "what the run above asks for is not rare"
