"""The EC2 operations on instances: what they take and what they answer."""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models.instances import Instance, Reservation

from local.twin.errors import refuse
from local.twin.launch_checks import check_machine
from local.twin.matching import select
from local.twin.snapshots import SnapshotsResponse


def _devices(read: Callable[[str, Any], Any]) -> Callable[[Instance], Any]:
    return lambda instance: [read(name, block) for name, block in instance.get_block_device_mapping]


# DescribeInstances' own list of filters in botocore's model, less those of features that the twin does not have.
_READERS: dict[str, Callable[[Instance], Any]] = {
    "architecture": lambda instance: instance.architecture,
    "availability-zone": lambda instance: instance.availability_zone,
    "block-device-mapping.attach-time": _devices(lambda _, block: block.attach_time),
    "block-device-mapping.delete-on-termination": _devices(lambda _, block: bool(block.delete_on_termination)),
    "block-device-mapping.device-name": _devices(lambda name, _: name),
    "block-device-mapping.status": _devices(lambda _, block: block.status),
    "block-device-mapping.volume-id": _devices(lambda _, block: block.volume_id),
    "client-token": lambda instance: instance.client_token,
    "dns-name": lambda instance: instance.public_dns_name,
    "ebs-optimized": lambda instance: bool(instance.ebs_optimized),
    "hypervisor": lambda instance: instance.hypervisor,
    "image-id": lambda instance: instance.image_id,
    "instance-id": lambda instance: instance.id,
    "instance-lifecycle": lambda instance: instance.lifecycle,
    "instance-state-code": lambda instance: instance.state_code,
    "instance-state-name": lambda instance: instance.state,
    "instance-type": lambda instance: instance.instance_type,
    "instance.group-id": lambda instance: [group.id for group in instance.security_groups],
    "instance.group-name": lambda instance: [group.name for group in instance.security_groups],
    "ip-address": lambda instance: instance.public_ip,
    "kernel-id": lambda instance: instance.kernel,
    "key-name": lambda instance: instance.key_name,
    "launch-index": lambda instance: instance.ami_launch_index,
    "launch-time": lambda instance: instance.launch_time,
    "monitoring-state": lambda instance: instance.monitoring_state,
    "network-interface.network-interface-id": lambda instance: [nic.id for nic in instance.network_interfaces],
    "network-interface.subnet-id": lambda instance: [nic.subnet.id for nic in instance.network_interfaces],
    "owner-id": lambda instance: instance.owner_id,
    "platform": lambda instance: instance.platform,
    "private-dns-name": lambda instance: instance.private_dns_name,
    "private-ip-address": lambda instance: instance.private_ip,
    "root-device-name": lambda instance: instance.root_device_name,
    "root-device-type": lambda instance: instance.root_device_type,
    "source-dest-check": lambda instance: bool(instance.source_dest_check),
    "state-reason-code": lambda instance: instance.state_reason.code,
    "subnet-id": lambda instance: instance.subnet_id,
    "tenancy": lambda instance: instance.placement.tenancy,
    "virtualization-type": lambda instance: instance.virtualization_type,
    "vpc-id": lambda instance: instance.vpc_id,
}


# botocore, ModifyInstanceAttributeRequest; EC2 User Guide, "Change the instance type".
_ONLY_WHEN_STOPPED = ("InstanceType", "UserData", "Kernel", "Ramdisk", "EbsOptimized", "EnaSupport", "SriovNetSupport")


def _of_instance(read: Callable[[Instance], Any]) -> Callable[[tuple[Reservation, Instance]], Any]:
    return lambda pair: read(pair[1])


_PAIR_READERS: dict[str, Callable[[tuple[Reservation, Instance]], Any]] = {
    **{name: _of_instance(read) for name, read in _READERS.items()},
    "reservation-id": lambda pair: pair[0].id,
}


class InstancesResponse(SnapshotsResponse):
    """RunInstances, the state-changing calls, DescribeInstances and DescribeInstanceStatus."""

    def run_instances(self) -> ActionResult:
        """Launches MaxCount instances: the twin never lacks capacity, so MinCount is only checked."""
        given = self.params
        least, most = int(self._get_param("MinCount", 1)), int(self._get_param("MaxCount", 1))
        if not 1 <= least <= most:
            raise refuse("InvalidParameterValue", f"MinCount {least} and MaxCount {most} do not fit together")
        self.tag_specifications("instance", "volume", "network-interface", "spot-instances-request")
        token = self._get_param("ClientToken")
        request = repr({name: value for name, value in given.items() if name not in ("ClientToken", "DryRun")})
        self.params = {**given, "MinCount": most}
        try:
            reservation = self.backend.launch_tokens.once(token, request, self._launch)
        finally:
            self.params = given
        return ActionResult(reservation)

    def _launch(self) -> Reservation:
        reservation = super().run_instances().result
        assert isinstance(reservation, Reservation)
        return reservation

    def _parse_block_device_mapping(self) -> list[dict[str, Any]]:
        """Leave the mappings as the request has them: moto drops half of what they say."""
        mappings: list[dict[str, Any]] = self._get_param("BlockDeviceMappings", [])
        return mappings

    def start_instances(self) -> ActionResult:
        changes = self.backend.start(self._get_param("InstanceIds", []))
        return ActionResult({"StartingInstances": [change.describe() for change in changes]})

    def stop_instances(self) -> ActionResult:
        changes = self.backend.stop(self._get_param("InstanceIds", []))
        return ActionResult({"StoppingInstances": [change.describe() for change in changes]})

    def reboot_instances(self) -> ActionResult:
        self.backend.reboot(self._get_param("InstanceIds", []))
        return EmptyResult()

    def terminate_instances(self) -> ActionResult:
        changes = self.backend.terminate(self._get_param("InstanceIds", []))
        return ActionResult({"TerminatingInstances": [change.describe() for change in changes]})

    def modify_instance_attribute(self) -> ActionResult:
        """moto's, but for what only a stopped instance lets be changed, and for a type that there is not.

        ModifyInstanceAttribute: "To modify some attributes, the instance must be stopped".
        """
        instance = self.backend.get_instance(self._get_param("InstanceId"))
        named = self._get_param("Attribute") or ""
        for attribute in _ONLY_WHEN_STOPPED:
            is_asked = attribute in self.params or named == attribute[0].lower() + attribute[1:]
            if is_asked and instance.state != "stopped":
                raise refuse("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
        asked = self._get_param("InstanceType") or {}
        instance_type = asked.get("Value") or (self._get_param("Value") if named == "instanceType" else None)
        if instance_type:
            check_machine(instance_type, self.backend.launch_of(instance.id).image)
        return super().modify_instance_attribute()

    def describe_instances(self) -> ActionResult:
        """Reservations, each with only those of its instances that were asked for and are on this page."""
        ids = self._get_param("InstanceIds", [])
        found, token = self.page(lambda: self._select(ids), ids=ids)
        reservations = []
        for _, pairs in groupby(found, key=lambda pair: pair[0].id):
            listed = list(pairs)
            page = Reservation(reservation_id=listed[0][0].id, owner_id=listed[0][0].owner_id)
            page.instances = [instance for _, instance in listed]
            reservations.append(page)
        return ActionResult({"Reservations": reservations, "NextToken": token})

    def _select(self, ids: Sequence[str]) -> list[tuple[Reservation, Instance]]:
        return list(
            select(
                self._instances(ids),
                self.filters(),
                readers=_PAIR_READERS,
                tags=lambda pair: self.backend.tags_of(pair[1].id),
            )
        )

    def _instances(self, ids: Sequence[str]) -> Iterator[tuple[Reservation, Instance]]:
        wanted = {self.backend.get_instance(instance_id).id for instance_id in ids}
        for instance_id in wanted:
            if self.backend.sightings.is_hidden(instance_id):
                raise InvalidInstanceIdError(instance_id)
        return (
            (reservation, self.backend.shown_instance(instance))
            for reservation in self.backend.reservations.values()
            for instance in reservation.instances
            if (not wanted or instance.id in wanted) and not self.backend.sightings.is_hidden(instance.id)
        )

    def describe_instance_status(self) -> ActionResult:
        """Running instances, or with IncludeAllInstances those in every state."""
        ids = self._get_param("InstanceIds", [])
        includes_all = self._get_bool_param("IncludeAllInstances", False)

        def select_statuses() -> Iterable[dict[str, Any]]:
            statuses = [self._status(instance) for _, instance in self._instances(ids)]
            statuses = [each for each in statuses if includes_all or each["InstanceState"]["Name"] == "running"]
            return select(statuses, self.filters(), readers=_STATUS_READERS, tags=lambda _: {})

        statuses, token = self.page(select_statuses, ids=ids)
        return ActionResult({"InstanceStatuses": statuses, "NextToken": token})

    def get_console_output(self) -> ActionResult:
        """What the test made the instance write; nothing until it has run for a while.

        "By default, the console output returns buffered information that was posted shortly after an instance
        transition state (start, stop, reboot, or terminate)" (GetConsoleOutput).
        """
        instance = self.backend.get_instance(self._get_param("InstanceId"))
        launch = self.backend.launch_of(instance.id)
        result = {"InstanceId": instance.id, "Timestamp": self.backend.now}
        if launch.console and launch.running_since is not None and launch.is_checked:
            result["Output"] = base64.b64encode(launch.console.encode()).decode()
        return ActionResult(result)

    def _status(self, instance: Instance) -> dict[str, Any]:
        since = self.backend.launch_of(instance.id).running_since
        if since is None:
            check: dict[str, Any] = {"Status": "not-applicable"}
        else:
            launch = self.backend.launch_of(instance.id)
            status = "initializing" if not launch.is_checked else "impaired" if launch.is_impaired else "ok"
            detail = {"initializing": "initializing", "impaired": "failed", "ok": "passed"}[status]
            check = {"Status": status, "Details": [{"Name": "reachability", "Status": detail}]}
        return {
            "InstanceId": instance.id,
            "AvailabilityZone": instance.availability_zone,
            "InstanceState": {"Code": instance.state_code, "Name": instance.state},
            "InstanceStatus": check,
            "SystemStatus": check,
            "Events": self.backend.launch_of(instance.id).events,
        }


def _events(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda status: [event[name] for event in status["Events"]]


_STATUS_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "availability-zone": lambda status: status["AvailabilityZone"],
    "event.code": _events("Code"),
    "event.description": _events("Description"),
    "event.instance-event-id": _events("InstanceEventId"),
    "event.not-after": _events("NotAfter"),
    "event.not-before": _events("NotBefore"),
    "event.not-before-deadline": _events("NotBeforeDeadline"),
    "instance-state-code": lambda status: status["InstanceState"]["Code"],
    "instance-state-name": lambda status: status["InstanceState"]["Name"],
    "instance-status.reachability": lambda status: [
        each["Status"] for each in status["InstanceStatus"].get("Details", [])
    ],
    "instance-status.status": lambda status: status["InstanceStatus"]["Status"],
    "system-status.reachability": lambda status: [each["Status"] for each in status["SystemStatus"].get("Details", [])],
    "system-status.status": lambda status: status["SystemStatus"]["Status"],
}
