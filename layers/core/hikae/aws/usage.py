"""What else needs snapshots and images: launch templates, Auto Scaling, locks, and what the Recycle Bin retains."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from hikae.aws.errors import reading
from hikae.domain.model import Place, RecycleBinRule
from hikae.domain.naming import format_time
from hikae.ports import Refused

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_rbin import RecycleBinClient

_UNRESOLVED = "resolve:"
_PAGE = 200
_BIN_TYPES = ("EBS_SNAPSHOT", "EC2_IMAGE")
_UNLOCKED = "expired"


class _Version(NamedTuple):
    """One version of a launch template, as Auto Scaling groups name it."""

    template: str
    version: str


class AwsUsage:
    """Asks EC2, Auto Scaling and the Recycle Bin of one account and Region."""

    def __init__(
        self, *, place: Place, ec2: "EC2Client", autoscaling: "AutoScalingClient", rbin: "RecycleBinClient"
    ) -> None:
        self._place = place
        self._ec2 = ec2
        self._autoscaling = autoscaling
        self._rbin = rbin

    def references(self) -> Mapping[str, frozenset[str]]:
        """See `ports.Usage`.

        Raises:
            Refused: a launch template names its image by a parameter that EC2 did not resolve.
        """
        named: dict[str, set[str]] = defaultdict(set)
        of_versions: dict[_Version, frozenset[str]] = {}
        with reading(f"launch templates of {self._place}"):
            for page in self._ec2.get_paginator("describe_launch_templates").paginate(
                PaginationConfig={"PageSize": _PAGE}
            ):
                for template in page["LaunchTemplates"]:
                    of_versions.update(self._read_versions(template, named))
        of_configurations: dict[str, frozenset[str]] = {}
        with reading(f"launch configurations of {self._place}"):
            for configurations in self._autoscaling.get_paginator("describe_launch_configurations").paginate():
                for configuration in configurations["LaunchConfigurations"]:
                    name = configuration["LaunchConfigurationName"]
                    of_configurations[name] = _named_by(configuration)
                    _add(named, of_configurations[name], f"launch configuration {name}")
        with reading(f"Auto Scaling groups of {self._place}"):
            for groups in self._autoscaling.get_paginator("describe_auto_scaling_groups").paginate():
                for group in groups["AutoScalingGroups"]:
                    referrer = f"Auto Scaling group {group['AutoScalingGroupName']}"
                    for ids in _of_group(group, of_versions, of_configurations):
                        _add(named, ids, referrer)
        return {resource: frozenset(referrers) for resource, referrers in named.items()}

    def _read_versions(
        self, template: Mapping[str, Any], named: dict[str, set[str]]
    ) -> Iterable[tuple[_Version, frozenset[str]]]:
        """All versions of one template: any of them may be launched, not only the default one."""
        template_id, name = template["LaunchTemplateId"], template.get("LaunchTemplateName", "")
        pages = self._ec2.get_paginator("describe_launch_template_versions").paginate(
            LaunchTemplateId=template_id, ResolveAlias=True, PaginationConfig={"PageSize": _PAGE}
        )
        for page in pages:
            for version in page["LaunchTemplateVersions"]:
                data: Mapping[str, Any] = version.get("LaunchTemplateData", {})
                number = version["VersionNumber"]
                if data.get("ImageId", "").startswith(_UNRESOLVED):
                    where = f"launch template {template_id} version {number}"
                    raise Refused(f"{where} names its image by {data['ImageId']}, which EC2 did not resolve")
                ids = _named_by(data)
                _add(named, ids, f"launch template {template_id} ({name}) version {number}")
                known_as = [str(number)]
                if number == template.get("LatestVersionNumber"):
                    known_as.append("$Latest")
                if number == template.get("DefaultVersionNumber"):
                    known_as.append("$Default")
                for known in known_as:
                    yield _Version(template=template_id, version=known), ids
                    yield _Version(template=name, version=known), ids

    def locked_snapshots(self) -> Mapping[str, str]:
        """See `ports.Usage`. EC2 keeps showing a lock that has expired, and the operation has no paginator."""
        locks: dict[str, str] = {}
        request: dict[str, Any] = {"MaxResults": _PAGE}
        with reading(f"locked snapshots of {self._place}"):
            while True:
                answer = self._ec2.describe_locked_snapshots(**request)
                for snapshot in answer["Snapshots"]:
                    if snapshot["LockState"] != _UNLOCKED:
                        locks[snapshot["SnapshotId"]] = _in_words(snapshot)
                token = answer.get("NextToken")
                if not token:
                    return locks
                request["NextToken"] = token

    def recycle_bin_rules(self) -> tuple[RecycleBinRule, ...]:
        """See `ports.Usage`."""
        rules = []
        with reading(f"Recycle Bin rules of {self._place}"):
            for resource_type in _BIN_TYPES:
                pages = self._rbin.get_paginator("list_rules").paginate(ResourceType=resource_type)  # type: ignore[arg-type]
                for page in pages:
                    for listed in page["Rules"]:
                        rule: Mapping[str, Any] = self._rbin.get_rule(Identifier=listed["Identifier"])
                        rules.append(
                            RecycleBinRule(
                                id=rule["Identifier"],
                                resource_type=rule["ResourceType"],
                                is_available=rule["Status"] == "available",
                                tags=_pairs(rule.get("ResourceTags", [])),
                                exclude_tags=_pairs(rule.get("ExcludeResourceTags", [])),
                            )
                        )
        return tuple(rules)


def _of_group(
    group: Mapping[str, Any],
    of_versions: Mapping[_Version, frozenset[str]],
    of_configurations: Mapping[str, frozenset[str]],
) -> Iterable[frozenset[str]]:
    """What an Auto Scaling group launches from: its configuration or template, and each override's own."""
    yield of_configurations.get(group.get("LaunchConfigurationName", ""), frozenset())
    mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    overrides = mixed.get("Overrides", [])
    for override in overrides:
        yield frozenset([override["ImageId"]] if override.get("ImageId") else [])
    specifications = [group.get("LaunchTemplate"), mixed.get("LaunchTemplateSpecification")]
    specifications.extend(override.get("LaunchTemplateSpecification") for override in overrides)
    for specification in specifications:
        if specification:
            template = specification.get("LaunchTemplateId") or specification.get("LaunchTemplateName", "")
            # https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplateSpecification.html
            version = specification.get("Version") or "$Default"
            yield of_versions.get(_Version(template=template, version=version), frozenset())


def _named_by(launch: Mapping[str, Any]) -> frozenset[str]:
    """The image of a launch template's or configuration's data, and the snapshots of its block devices."""
    mappings = launch.get("BlockDeviceMappings", [])
    snapshots = [mapping.get("Ebs", {}).get("SnapshotId") for mapping in mappings]
    return frozenset(name for name in (launch.get("ImageId"), *snapshots) if name)


def _add(named: dict[str, set[str]], ids: Iterable[str], referrer: str) -> None:
    for resource in ids:
        named[resource].add(referrer)


def _in_words(lock: Mapping[str, Any]) -> str:
    until: datetime | None = lock.get("LockExpiresOn")
    return f"{lock['LockState']} until {format_time(until)}" if until else str(lock["LockState"])


def _pairs(tags: Iterable[Mapping[str, Any]]) -> frozenset[tuple[str, str | None]]:
    """Tags of a rule; one without a value matches every value.

    https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-create-rule.html
    """
    return frozenset((tag["ResourceTagKey"], tag.get("ResourceTagValue") or None) for tag in tags)
