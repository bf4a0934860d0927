"""EC2 and its neighbours behind the ports of recovery: make, look around, probe, remove."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hikae.aws.documents import read_text
from hikae.aws.errors import reading, send, translate
from hikae.aws.filtering import filters_by
from hikae.aws.quotas import ServiceQuotas
from hikae.domain.document import PlanError
from hikae.domain.ladder import InstanceType, read_instance_type
from hikae.domain.naming import RECOVERY_SETTINGS_KEY
from hikae.domain.networks import Subnet
from hikae.domain.recovery_settings import RecoverySettings, read_settings
from hikae.domain.runs import ProbeResult
from hikae.domain.teardown import Made
from hikae.ports import NotFound, Refused

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

_PAGE = 1000
_ENDPOINT_GONE = frozenset({"deleted", "deleting", "failed", "rejected", "expired"})
_CHECKS = ("InstanceStatus", "SystemStatus")
_AS_WANTED = frozenset({"InvalidPermission.Duplicate", "InvalidPermission.NotFound"})
"""A rule that is there already, or is not there any more."""
_DRY_RUN = "DryRunOperation"
"""What EC2 answers where it would have done it: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html."""


class Ec2Recoverer:
    """Makes and removes; `creating` must not retry by itself."""

    def __init__(
        self,
        *,
        creating: "EC2Client",
        reading: "EC2Client",
        load_balancing: Callable[[], "ElasticLoadBalancingv2Client"],
    ) -> None:
        self._creating = creating
        self._reading = reading
        self._load_balancing = load_balancing

    def made(self, *, tag: str, value: str) -> list[Made]:
        """See `ports.Recoverer`. A `*` in the value stands for anything."""
        filters: list[Any] = [{"Name": f"tag:{tag}", "Values": [value]}]
        paging: Any = {"PageSize": _PAGE}
        made: list[Made] = []
        with reading(f"what carries {tag}={value}"):
            for instances in self._reading.get_paginator("describe_instances").paginate(
                Filters=filters, PaginationConfig=paging
            ):
                for reservation in instances["Reservations"]:
                    made.extend(_instance(each) for each in reservation.get("Instances", []))
            for volumes in self._reading.get_paginator("describe_volumes").paginate(
                Filters=filters, PaginationConfig=paging
            ):
                made.extend(_volume(each) for each in volumes["Volumes"])
            for images in self._reading.get_paginator("describe_images").paginate(
                Owners=["self"], Filters=filters, IncludeDisabled=True, PaginationConfig=paging
            ):
                made.extend(_image(each) for each in images["Images"])
            for endpoints in self._reading.get_paginator("describe_vpc_endpoints").paginate(
                Filters=filters, PaginationConfig=paging
            ):
                made.extend(_endpoint(each) for each in endpoints["VpcEndpoints"])
            for groups in self._reading.get_paginator("describe_security_groups").paginate(
                Filters=filters, PaginationConfig=paging
            ):
                made.extend(_group(each) for each in groups["SecurityGroups"])
        return made

    def images(self, images: Collection[str]) -> Mapping[str, str]:
        """See `ports.Recoverer`."""
        found = (image for filters in filters_by("image-id", images) for image in self._images(filters))
        return {image["ImageId"]: image["State"] for image in found}

    def find_image(self, name: str) -> Made | None:
        """See `ports.Recoverer`."""
        return next((_image(each) for each in self._images([{"Name": "name", "Values": [name]}])), None)

    def _images(self, filters: list[Any]) -> list[Any]:
        found: list[Any] = []
        with reading("images"):
            for page in self._reading.get_paginator("describe_images").paginate(
                Owners=["self"], Filters=filters, PaginationConfig={"PageSize": _PAGE}
            ):
                found.extend(page["Images"])
        return found

    def register_image(self, request: Mapping[str, Any]) -> str:
        """See `ports.Recoverer`."""
        return send(lambda: self._creating.register_image(**request), resource=request["Name"])["ImageId"]

    def launch(self, request: Mapping[str, Any]) -> str:
        """See `ports.Recoverer`."""
        ready = _with_plain_user_data(request)
        answer = send(lambda: self._creating.run_instances(**ready), resource=request["ImageId"])
        return answer["Instances"][0]["InstanceId"]

    def check_launch(self, request: Mapping[str, Any]) -> None:
        """See `ports.Recoverer`."""
        ready = _with_plain_user_data(request)
        try:
            self._reading.run_instances(**ready, DryRun=True)
        except (ClientError, BotoCoreError) as error:
            translated = translate(error, request["ImageId"])
            if translated.code != _DRY_RUN:
                raise translated from error

    def create_volume(self, request: Mapping[str, Any]) -> str:
        """See `ports.Recoverer`."""
        return send(lambda: self._creating.create_volume(**request), resource=request["SnapshotId"])["VolumeId"]

    def endpoints(self, vpc: str) -> frozenset[str]:
        """See `ports.Recoverer`."""
        services: set[str] = set()
        with reading(vpc):
            for page in self._reading.get_paginator("describe_vpc_endpoints").paginate(
                Filters=[{"Name": "vpc-id", "Values": [vpc]}], PaginationConfig={"PageSize": _PAGE}
            ):
                found = (each for each in page["VpcEndpoints"] if each["State"].lower() not in _ENDPOINT_GONE)
                services.update(each["ServiceName"] for each in found)
        return frozenset(services)

    def create_endpoint(self, request: Mapping[str, Any]) -> str:
        """See `ports.Recoverer`."""
        answer = send(lambda: self._creating.create_vpc_endpoint(**request), resource=request["ServiceName"])
        return answer["VpcEndpoint"]["VpcEndpointId"]

    def find_group(self, vpc: str, name: str) -> str:
        """See `ports.Recoverer`."""
        filters: list[Any] = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [name]}]
        with reading(name):
            found = self._reading.describe_security_groups(Filters=filters)["SecurityGroups"]
        return found[0]["GroupId"] if found else ""

    def create_group(self, request: Mapping[str, Any]) -> str:
        """See `ports.Recoverer`."""
        return send(lambda: self._creating.create_security_group(**request), resource=request["GroupName"])["GroupId"]

    def enclose_group(self, group: str) -> None:
        """See `ports.Recoverer`. A new group lets everything out, by IPv6 too where its VPC has that."""
        everything: Any = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        everything6: Any = [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]
        itself: Any = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
        ec2 = self._reading
        for change in (
            lambda: ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everything),
            lambda: ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everything6),
            lambda: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=itself),
            lambda: ec2.authorize_security_group_egress(GroupId=group, IpPermissions=itself),
        ):
            try:
                send(change, resource=group)
            except (NotFound, Refused) as error:
                if error.code not in _AS_WANTED:
                    raise

    def remove(self, thing: Made) -> None:
        """See `ports.Recoverer`."""
        remove: Mapping[str, Callable[[], Any]] = {
            "instance": lambda: self._reading.terminate_instances(InstanceIds=[thing.id]),
            "volume": lambda: self._reading.delete_volume(VolumeId=thing.id),
            # Never with its snapshots: they are the recovery point.
            "image": lambda: self._reading.deregister_image(ImageId=thing.id, DeleteAssociatedSnapshots=False),
            "endpoint": lambda: self._delete_endpoint(thing.id),
            "security-group": lambda: self._reading.delete_security_group(GroupId=thing.id),
        }
        try:
            send(remove[thing.kind], resource=thing.id)
        except NotFound:
            return

    def _delete_endpoint(self, endpoint: str) -> None:
        """What cannot be deleted is in the answer, not an error of the call."""
        for failed in self._reading.delete_vpc_endpoints(VpcEndpointIds=[endpoint]).get("Unsuccessful", []):
            error = failed.get("Error", {})
            if not str(error.get("Code", "")).endswith(".NotFound"):
                raise Refused(f"{error.get('Code')}: {error.get('Message')}", resource=endpoint)

    def look(self, instance: str) -> Mapping[str, Any]:
        """See `ports.Recoverer`."""
        with reading(instance):
            found = self._reading.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance]}])
        described = [each for reservation in found["Reservations"] for each in reservation.get("Instances", [])]
        if not described:
            raise NotFound(f"there is no instance {instance}", resource=instance)
        return described[0]

    def set_source_dest_check(self, interface: str, *, enabled: bool) -> None:
        """See `ports.Recoverer`. An instance with several interfaces can be told by these only."""
        send(
            lambda: self._reading.modify_network_interface_attribute(
                NetworkInterfaceId=interface, SourceDestCheck={"Value": enabled}
            ),
            resource=interface,
        )

    def associate_address(self, interface: str, private_ip: str, allocation: str) -> None:
        """See `ports.Recoverer`. Looked up first: EC2 refuses to associate again what is associated already."""
        with reading(allocation):
            found = self._reading.describe_addresses(Filters=[{"Name": "allocation-id", "Values": [allocation]}])
        if any(address.get("NetworkInterfaceId") == interface for address in found["Addresses"]):
            return
        send(
            lambda: self._reading.associate_address(
                NetworkInterfaceId=interface,
                PrivateIpAddress=private_ip,
                AllocationId=allocation,
                AllowReassociation=False,
            ),
            resource=allocation,
        )

    def register_target(self, target: str, target_group: str, *, port: int | None) -> None:
        """See `ports.Recoverer`."""
        wanted: Any = {"Id": target} | ({} if port is None else {"Port": port})
        send(
            lambda: self._load_balancing().register_targets(TargetGroupArn=target_group, Targets=[wanted]),
            resource=target_group,
        )

    def tag_volume(self, volume: str, tags: Mapping[str, str]) -> None:
        """See `ports.Recoverer`."""
        send(
            lambda: self._reading.create_tags(
                Resources=[volume], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
            ),
            resource=volume,
        )


class Ec2Surroundings:
    """What the Region offers."""

    def __init__(
        self,
        ec2: "EC2Client",
        *,
        kms: "KMSClient",
        key_arn: str,
        quotas: ServiceQuotas,
        load_balancing: Callable[[], "ElasticLoadBalancingv2Client"],
    ) -> None:
        self._ec2 = ec2
        self._load_balancing = load_balancing
        self._quotas = quotas
        self._kms = kms
        self._key_arn = key_arn

    def subnets(self, subnets: Collection[str]) -> Mapping[str, Subnet]:
        """See `ports.Surroundings`. Asked by a filter: an id that is not there must not hide those that are."""
        found: list[Any] = []
        with reading("subnets"):
            for filters in filters_by("subnet-id", subnets):
                found.extend(self._ec2.describe_subnets(Filters=filters)["Subnets"])
        return {
            subnet["SubnetId"]: Subnet(
                id=subnet["SubnetId"],
                zone=subnet["AvailabilityZone"],
                vpc=subnet["VpcId"],
                cidr=subnet["CidrBlock"],
                free=subnet["AvailableIpAddressCount"],
                has_ipv6=_has_ipv6(subnet),
            )
            for subnet in found
        }

    def security_groups(self, groups: Collection[str]) -> Mapping[str, str]:
        """See `ports.Surroundings`."""
        found: dict[str, str] = {}
        with reading("security groups"):
            for filters in filters_by("group-id", groups):
                answer = self._ec2.describe_security_groups(Filters=filters)
                found |= {group["GroupId"]: group.get("VpcId", "") for group in answer["SecurityGroups"]}
        return found

    def key_pairs(self, names: Collection[str]) -> frozenset[str]:
        """See `ports.Surroundings`."""
        found: set[str] = set()
        with reading("key pairs"):
            for filters in filters_by("key-name", names):
                found.update(pair["KeyName"] for pair in self._ec2.describe_key_pairs(Filters=filters)["KeyPairs"])
        return frozenset(found)

    def placement_groups(self, names: Collection[str]) -> frozenset[str]:
        """See `ports.Surroundings`."""
        found: set[str] = set()
        with reading("placement groups"):
            for filters in filters_by("group-name", names, {"Name": "state", "Values": ["available"]}):
                answer = self._ec2.describe_placement_groups(Filters=filters)
                found.update(group["GroupName"] for group in answer["PlacementGroups"])
        return frozenset(found)

    def addresses(self, allocations: Collection[str]) -> Mapping[str, str]:
        """See `ports.Surroundings`."""
        found: dict[str, str] = {}
        with reading("Elastic IP addresses"):
            for filters in filters_by("allocation-id", allocations):
                answer = self._ec2.describe_addresses(Filters=filters)
                found |= {each["AllocationId"]: _holder_of(each) for each in answer["Addresses"]}
        return found

    def target_groups(self, arns: Collection[str]) -> Mapping[str, str]:
        """See `ports.Surroundings`. All are listed: asked by ARN, one that is not there hides those that are."""
        if not arns:
            return {}
        found: dict[str, str] = {}
        with reading("target groups"):
            for page in self._load_balancing().get_paginator("describe_target_groups").paginate():
                listed = (each for each in page["TargetGroups"] if each["TargetGroupArn"] in arns)
                found |= {each["TargetGroupArn"]: each.get("VpcId", "") for each in listed}
        return found

    def types(self, names: Collection[str]) -> Mapping[str, InstanceType]:
        """See `ports.Surroundings`."""
        known: dict[str, InstanceType] = {}
        with reading("instance types"):
            for filters in filters_by("instance-type", names):
                for page in self._ec2.get_paginator("describe_instance_types").paginate(Filters=filters):
                    known.update({each["InstanceType"]: read_instance_type(each) for each in page["InstanceTypes"]})
        return known

    def offered(self, names: Collection[str], zones: Collection[str]) -> frozenset[tuple[str, str]]:
        """See `ports.Surroundings`."""
        offered: set[tuple[str, str]] = set()
        with reading("instance type offerings"):
            for filters in filters_by("instance-type", names, {"Name": "location", "Values": sorted(zones)}):
                for page in self._ec2.get_paginator("describe_instance_type_offerings").paginate(
                    LocationType="availability-zone", Filters=filters
                ):
                    offered.update((each["InstanceType"], each["Location"]) for each in page["InstanceTypeOfferings"])
        return frozenset(offered)

    def running_types(self) -> Mapping[str, int]:
        """See `ports.Surroundings`."""
        running: Counter[str] = Counter()
        with reading("running instances"):
            for page in self._ec2.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
                PaginationConfig={"PageSize": _PAGE},
            ):
                instances = (each for reservation in page["Reservations"] for each in reservation.get("Instances", []))
                running.update(each["InstanceType"] for each in instances if _is_on_demand(each))
        return running

    def vcpu_quotas(self, names: Collection[str]) -> Mapping[str, int]:
        """See `ports.Surroundings`."""
        return self._quotas.vcpus(names)

    def is_key_usable(self) -> bool:
        """See `ports.Surroundings`."""
        with reading(self._key_arn):
            return self._kms.describe_key(KeyId=self._key_arn)["KeyMetadata"].get("KeyState") == "Enabled"


_NOT_ON_DEMAND = frozenset({"spot", "scheduled", "capacity-block"})
"""What has quotas of its own, or a reservation in place of one.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-blocks-how.html
"""


def _is_on_demand(described: Mapping[str, Any]) -> bool:
    """Whether an instance counts towards the Running On-Demand quotas: on a Dedicated Host, the host is what counts.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html#ec2-on-demand-instances-limits
    https://docs.aws.amazon.com/general/latest/gr/ec2-service.html has a quota on Dedicated Hosts for each family.
    """
    is_on_host = described.get("Placement", {}).get("Tenancy") == "host"
    return described.get("InstanceLifecycle") not in _NOT_ON_DEMAND and not is_on_host


_AT_ONCE: Final = 64
"""Connections that the probing function opens at once."""


class AwsProber:
    """Asks EC2, SSM, and a function inside the drills' network."""

    def __init__(
        self,
        ec2: "EC2Client",
        *,
        ssm: Callable[[], "SSMClient"],
        sending_ssm: Callable[[], "SSMClient"],
        functions: Callable[[], "LambdaClient"],
        function_name: str,
    ) -> None:
        self._ec2 = ec2
        self._ssm = ssm
        self._sending_ssm = sending_ssm
        self._functions = functions
        self._function_name = function_name

    def status(self, instance: str) -> tuple[str, str]:
        """See `ports.Prober`."""
        with reading(instance):
            answer = self._ec2.describe_instance_status(Filters=[], InstanceIds=[instance], IncludeAllInstances=True)
        found: Mapping[str, Any] = next(iter(answer["InstanceStatuses"]), {})
        instance_status, system = (found.get(key, {}).get("Status", "unknown") for key in _CHECKS)
        return instance_status, system

    def console(self, instance: str) -> str:
        """See `ports.Prober`."""
        with reading(instance):
            # boto3 decodes it; Latest is for Nitro only, so the buffered output is what every type has.
            return self._ec2.get_console_output(InstanceId=instance).get("Output", "")

    def send_command(self, instance: str, command: str, *, comment: str) -> str:
        """See `ports.Prober`. SendCommand has no client token; a command is known by its comment."""
        ssm = self._ssm()
        with reading(instance):
            for page in ssm.get_paginator("list_commands").paginate(InstanceId=instance):
                for sent in page["Commands"]:
                    if sent.get("Comment") == comment:
                        return sent["CommandId"]
        answer = send(
            lambda: self._sending_ssm().send_command(
                InstanceIds=[instance],
                DocumentName="AWS-RunShellScript",
                Comment=comment,
                Parameters={"commands": [command]},
            ),
            resource=instance,
        )
        return answer["Command"]["CommandId"]

    def command_result(self, instance: str, reference: str) -> tuple[str, str]:
        """See `ports.Prober`."""
        try:
            answer = self._ssm().get_command_invocation(CommandId=reference, InstanceId=instance)
        except self._ssm().exceptions.InvocationDoesNotExist:
            return "Pending", ""  # it was sent a moment ago
        return answer["Status"], answer.get("StandardOutputContent", "") or answer.get("StandardErrorContent", "")

    def connect(self, questions: Sequence[tuple[str, ProbeResult]]) -> list[tuple[bool, str]]:
        """See `ports.Prober`. One invocation asks as much as fits well into its time."""
        return [
            answer
            for begin in range(0, len(questions), _AT_ONCE)
            for answer in self._connect(questions[begin : begin + _AT_ONCE])
        ]

    def _connect(self, questions: Sequence[tuple[str, ProbeResult]]) -> list[tuple[bool, str]]:
        asked = [
            {"address": address, **{key: getattr(probe, key) for key in ("kind", "value", "status", "expected")}}
            for address, probe in questions
        ]
        payload = json.dumps({"questions": asked}).encode()
        with reading(self._function_name or "the probe function"):
            answer = self._functions().invoke(FunctionName=self._function_name, Payload=payload)
        said = answer["Payload"].read()
        if answer.get("FunctionError"):
            return [(False, f"the probe function failed: {answer['FunctionError']}")] * len(questions)
        return [(bool(each["ok"]), str(each["detail"])) for each in json.loads(said)["answers"]]


class S3RecoverySettings:
    """The recovery settings in the site's bucket."""

    def __init__(self, client: "S3Client", *, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def load(self) -> RecoverySettings:
        """See `ports.SettingsStore`."""
        try:
            return read_settings(read_text(self._client, self._bucket, RECOVERY_SETTINGS_KEY))
        except NotFound:
            return RecoverySettings()
        except PlanError as error:
            raise Refused(f"{RECOVERY_SETTINGS_KEY}: {error}", resource=RECOVERY_SETTINGS_KEY) from error


def _with_plain_user_data(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as boto3 wants it: it encodes user data itself."""
    if "UserData" not in request:
        return dict(request)
    return {**request, "UserData": base64.b64decode(request["UserData"])}


def _tags(described: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}


def _instance(described: Mapping[str, Any]) -> Made:
    return Made(
        id=described["InstanceId"],
        kind="instance",
        state=described["State"]["Name"],
        tags=_tags(described),
        reason=described.get("StateReason", {}).get("Message", ""),
        type=described.get("InstanceType", ""),
        subnet=described.get("SubnetId", ""),
        zone=described.get("Placement", {}).get("AvailabilityZone", ""),
        private_ip=described.get("PrivateIpAddress", ""),
        image=described.get("ImageId", ""),
    )


def _volume(described: Mapping[str, Any]) -> Made:
    attachments = described.get("Attachments", [])
    return Made(
        id=described["VolumeId"],
        kind="volume",
        state=described["State"],
        tags=_tags(described),
        zone=described.get("AvailabilityZone", ""),
        attached_to=attachments[0].get("InstanceId", "") if attachments else "",
    )


def _image(described: Mapping[str, Any]) -> Made:
    return Made(
        id=described["ImageId"],
        kind="image",
        state=described["State"],
        tags=_tags(described),
        reason=described.get("StateReason", {}).get("Message", ""),
    )


def _group(described: Mapping[str, Any]) -> Made:
    """A group has no state: it is there until it is not."""
    return Made(id=described["GroupId"], kind="security-group", state="available", tags=_tags(described))


def _endpoint(described: Mapping[str, Any]) -> Made:
    state = described["State"].lower()
    return Made(
        id=described["VpcEndpointId"],
        kind="endpoint",
        state="deleted" if state in _ENDPOINT_GONE - {"deleting"} else state,
        tags=_tags(described),
    )


def _holder_of(address: Mapping[str, Any]) -> str:
    """An instance, or else the network interface, such as a NAT gateway's; empty where nothing has the address."""
    if not address.get("AssociationId"):
        return ""
    return str(address.get("InstanceId") or address.get("NetworkInterfaceId") or address["AssociationId"])


def _has_ipv6(subnet: Mapping[str, Any]) -> bool:
    blocks = subnet.get("Ipv6CidrBlockAssociationSet", [])
    return any(each.get("Ipv6CidrBlockState", {}).get("State") == "associated" for each in blocks)
