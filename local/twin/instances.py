"""Instances: launched with what their image really carries, and moved through their states by the clock.

Sources: EC2 API Reference (RunInstances, StartInstances, StopInstances, RebootInstances, TerminateInstances,
"Error codes"), EC2 User Guide ("Amazon EC2 instance state changes", "Block device mappings for volumes").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any

from moto.ec2.exceptions import OperationDisableApiStopNotPermitted, OperationNotPermitted4
from moto.ec2.models.instances import Instance, InstanceState, Reservation, StateReason

from local.twin.block_devices import Device, check_snapshot_of_device, merge_block_devices, parse_block_devices
from local.twin.client_tokens import ClientTokens
from local.twin.clock import Action, Timer
from local.twin.errors import refuse
from local.twin.events import instance_changed, volume_changed
from local.twin.image_catalog import ImageCatalog
from local.twin.image_record import Image
from local.twin.launch_checks import DEFAULT_TYPE, INSTANCE_TYPES, check_machine
from local.twin.quotas import STANDARD_FAMILIES, STANDARD_VCPUS
from local.twin.services import services_of
from local.twin.volumes import Volume, check_volume_type

_KEY_FAILED = "Client.InternalError"
_STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_START = timedelta(seconds=25)
_STOP = timedelta(seconds=30)
_TERMINATION = timedelta(seconds=30)
# A status check needs a few minutes after a start; until then it is `initializing`
# (EC2 User Guide, "Status checks for Amazon EC2 instances").
_INITIALIZING = timedelta(minutes=2)
# How soon SSM's agent reports after its instance runs is not documented; it is never at once.
_REGISTRATION = timedelta(seconds=60)
# "An instance in the terminated state remains visible for a while and is then deleted", usually within an hour
# (EC2 User Guide, "Terminate Amazon EC2 instances").
_VISIBLE_AFTER_TERMINATION = timedelta(hours=1)


@dataclass(kw_only=True, eq=False)
class Launch:
    """What the twin knows of an instance beyond moto: where it came from and what happened to it."""

    image: Image
    reservation: Reservation
    instance_store_devices: list[Device]
    rebooted_at: list[datetime] = field(default_factory=list)
    running_since: datetime | None = None
    is_checked: bool = False
    has_reported: bool = False
    is_impaired: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    console: str = ""
    transition: Timer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """The states of one instance before and after a call, as the call's answer tells them."""

    instance_id: str
    previous: str
    current: str

    def describe(self) -> dict[str, Any]:
        return {
            "InstanceId": self.instance_id,
            "PreviousState": {"Code": _STATE_CODES[self.previous], "Name": self.previous},
            "CurrentState": {"Code": _STATE_CODES[self.current], "Name": self.current},
        }


class InstancesBackend(ImageCatalog):
    """The instances of one account in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self._launches: dict[str, Launch] = {}
        self.launch_tokens: ClientTokens[Reservation] = ClientTokens()
        self._stuck: set[str] = set()
        self.placement_groups: dict[str, dict[str, Any]] = {}
        super().__init__(region_name, account_id)

    def launch_of(self, instance_id: str) -> Launch:
        """What the twin noted of the instance; InvalidInstanceID.NotFound when there is none."""
        self.get_instance(instance_id)
        return self._launches[instance_id]

    def get_instance_by_id(self, instance_id: str) -> Instance | None:
        return self.get_instance(instance_id) if instance_id in self._launches else None

    def get_multi_instances_by_id(self, instance_ids: list[str], filters: Any = None) -> list[Instance]:
        return [self.get_instance(instance_id) for instance_id in instance_ids]

    def shown_instance(self, instance: Instance) -> Instance:
        """The instance as describes tell it, which may be in its former state."""
        state = self.sightings.state_of(instance.id, instance.state)
        if state == instance.state:
            return instance
        shown = copy(instance)
        shown._state = InstanceState(state, _STATE_CODES[state])  # noqa: SLF001 (moto has no setter)
        return shown

    def volumes_of(self, instance: Instance) -> dict[str, Volume]:
        """The EBS volumes that are attached to the instance, by device name."""
        return {device: self.get_volume(block.volume_id) for device, block in instance.get_block_device_mapping}

    # Launching

    def run_instances(
        self, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Reservation:
        """Launch `count` pending instances whose volumes come from the image's block device mapping.

        The mappings of the launch template, then those of the request, override the image's by device name. Either all
        instances are launched or none is.
        """
        arguments = kwargs.get("launch_template")
        template = self._get_template_from_args(arguments) if arguments else None
        image = self.require_available_image(image_id or (template.image_id if template else "") or "")
        devices: Sequence[Device] = image.devices
        for mappings in (
            template.data.get("BlockDeviceMappings") if template else None,
            kwargs.pop("block_device_mappings", None),
        ):
            devices = merge_block_devices(image=devices, requested=parse_block_devices(mappings or []))
        devices = [self._complete(device, image=image) for device in devices]
        told = template.data if template else {}
        kwargs.setdefault("is_instance_type_default", not kwargs.get("instance_type"))
        asked = None if kwargs["is_instance_type_default"] else kwargs["instance_type"]
        instance_type = asked or told.get("InstanceType") or DEFAULT_TYPE
        check_machine(instance_type, image)
        self._check_key_pair(kwargs.get("key_name") or told.get("KeyName"))
        if not kwargs.get("instance_market_options"):
            self._check_vcpus(instance_type, count)
        self._check_address(kwargs.get("private_ip"), subnet_id=kwargs.get("subnet_id"))
        tags = kwargs.pop("tags", None) or {}
        reservation = super().run_instances(
            image_id,
            count,
            user_data,
            security_group_names,
            block_device_mappings=[],  # an empty list keeps moto from making a blank root volume
            tags={"instance": tags.get("instance", {})},
            **kwargs,
        )
        for instance in reservation.instances:
            launch = Launch(
                image=image,
                reservation=reservation,
                instance_store_devices=[device for device in devices if not device.is_ebs],
            )
            self._launches[instance.id] = launch
            self.sightings.appear(instance.id)
            self._equip(instance, image=image, devices=devices, volume_tags=tags.get("volume", {}))
            if not kwargs.get("nics"):
                # The network interface that a launch makes goes with its instance, unless the request says otherwise
                # (EC2 User Guide, "Elastic network interfaces", termination behavior); moto keeps it.
                for interface in instance.network_interfaces:
                    interface.delete_on_termination = True
            else:
                # "If you specify a network interface, you must specify any security groups as part of the network
                # interface" (RunInstances, SecurityGroupId). An instance's are its primary one's; moto says none.
                instance.security_groups = list(instance.nics[0].group_set)
        return reservation

    def _check_key_pair(self, name: str | None) -> None:
        if name and name not in self.key_pairs:
            raise refuse("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")

    def _check_vcpus(self, instance_type: str, count: int) -> None:
        """VcpuLimitExceeded above the quota on running On-Demand instances, which is counted in vCPUs.

        EC2 User Guide, "On-Demand Instance quotas"; errors-overview. Only the standard families have a quota here. Spot
        Instances have quotas of their own ("Spot Instance quotas"), which are not kept to.
        """
        if not _is_standard(instance_type):
            return
        limit = self.world.quotas.limit(STANDARD_VCPUS)
        kinds = Counter(
            self._instances_by_id[each].instance_type
            for each in self._launches
            if self.get_instance(each).state in ("pending", "running") and self.get_instance(each).lifecycle != "spot"
        )
        kinds[instance_type] += count
        wanted = sum(_vcpus(kind) * number for kind, number in kinds.items() if _is_standard(kind))
        if wanted > limit:
            raise refuse(
                "VcpuLimitExceeded",
                f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows.",
            )

    def _check_address(self, address: str | None, *, subnet_id: str | None) -> None:
        """Refuses a private address that is taken or outside of the subnet; moto raises a bare Exception.

        errors-overview: InvalidIPAddress.InUse, "The specified IP address is already in use". RunInstances,
        PrivateIpAddress: "You must specify a value from the IPv4 address range of the subnet".
        """
        if not address or not subnet_id:
            return
        subnet = self.get_subnet(subnet_id)
        if ip_address(address) not in subnet.cidr:
            raise refuse("InvalidParameterValue", f"Address {address} does not fall within the subnet's address range")
        if address in subnet._subnet_ips:  # noqa: SLF001 (moto has no getter)
            raise refuse("InvalidIPAddress.InUse", f"Address {address} is in use.")

    def _complete(self, device: Device, *, image: Image) -> Device:
        if not device.is_ebs:
            return device
        size = device.size
        is_from_encrypted = False
        if device.snapshot_id:
            is_from_image = device.snapshot_id in image.snapshot_ids
            snapshot = (self.find_snapshot if is_from_image else self.get_snapshot)(device.snapshot_id)
            snapshot.require_usable()
            check_snapshot_of_device(
                device, snapshot_size=snapshot.volume_size, snapshot_is_encrypted=snapshot.encrypted
            )
            size = size or snapshot.volume_size
            is_from_encrypted = snapshot.encrypted
        if size is None:
            raise refuse("MissingParameter", "The request must contain the parameter size or snapshotId")
        if device.kms_key_id and not (device.encrypted or is_from_encrypted):
            raise refuse(
                "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
            )
        volume_type = device.volume_type or "gp2"
        check_volume_type(volume_type, size=size, iops=device.iops, throughput=device.throughput)
        is_deleted = True if device.delete_on_termination is None else device.delete_on_termination
        return replace(device, size=size, volume_type=volume_type, delete_on_termination=is_deleted)

    def _equip(
        self, instance: Instance, *, image: Image, devices: Sequence[Device], volume_tags: dict[str, str]
    ) -> None:
        instance.launch_time = self.now
        instance.root_device_name = image.root_device_name
        instance.root_device_type = image.root_device_type
        for attribute in ("platform_details", "usage_operation", "ena_support", "boot_mode"):
            setattr(instance, attribute, getattr(image, attribute))
        for interface in instance.network_interfaces:
            interface.attach_time = self.now
        for device in devices:
            if device.is_ebs:
                volume = self.create_volume(
                    size=device.size,
                    zone_name=instance.availability_zone,
                    snapshot_id=device.snapshot_id,
                    encrypted=bool(device.encrypted),
                    kms_key_id=device.kms_key_id,
                    volume_type=device.volume_type,
                    iops=device.iops,
                    throughput=device.throughput,
                )
                self.attach_volume(volume.id, instance.id, device.name, bool(device.delete_on_termination))
                if volume_tags:
                    self.create_tags([volume.id], dict(volume_tags))
        self._enter(instance, "pending", then=partial(self._come_up, instance), after=_START)

    def _come_up(self, instance: Instance) -> None:
        failed = [each.id for each in self.volumes_of(instance).values() if each.state == "error"]
        if failed:
            # A key that cannot be used lets the launch fail after the call (EC2 UG, "Instance terminates immediately").
            self._terminate(instance, reason="Client.InternalError", message="Client error on launch")
            return
        instance.start()
        launch = self._launches[instance.id]
        launch.running_since = self.now
        self._await_checks(launch)
        self._enter(instance, "running")

    def _await_checks(self, launch: Launch) -> None:
        launch.is_checked = launch.has_reported = False
        since = launch.running_since
        self.call_later(_INITIALIZING, lambda: self._note(launch, since, "is_checked"))
        self.call_later(_REGISTRATION, lambda: self._note(launch, since, "has_reported"))

    def _note(self, launch: Launch, since: datetime | None, what: str) -> None:
        """Something has come about, unless the instance was stopped since."""
        if launch.running_since == since:
            setattr(launch, what, True)

    # States

    def _enter(
        self, instance: Instance, state: str, *, then: Action | None = None, after: timedelta = timedelta()
    ) -> None:
        launch = self._launches[instance.id]
        if launch.transition is not None:
            launch.transition.cancel()
        self.sightings.change(instance.id, former=instance.state)
        instance._state = InstanceState(state, _STATE_CODES[state])  # noqa: SLF001 (moto has no setter)
        launch.transition = self.call_later(after, then) if then else None
        services = services_of(account_id=self.account_id, region=self.region_name)
        if state == "running":
            tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
            services.come_up(instance.id, address=instance.private_ip or "", tags=tags)
        else:
            services.go_down(instance.id)
        self.send_event(
            instance_changed(region=self.region_name, account_id=self.account_id, instance_id=instance.id, state=state)
        )

    def start(self, instance_ids: Sequence[str]) -> list[StateChange]:
        """StartInstances: a stopped instance becomes pending; IncorrectInstanceState from stopping or when it ends."""
        instances = [self.get_instance(each) for each in instance_ids]
        for instance in instances:
            if instance.state not in ("stopped", "running", "pending"):
                raise _incorrect_state(instance, "started")
        changes = []
        for instance in instances:
            previous = instance.state
            if previous == "stopped":
                instance.launch_time = self.now
                encrypted = [each for each in self.volumes_of(instance).values() if each.encrypted]
                self._enter(instance, "pending", then=partial(self._reattach, instance, encrypted), after=_START)
            changes.append(StateChange(instance_id=instance.id, previous=previous, current=instance.state))
        return changes

    def _reattach(self, instance: Instance, volumes: Sequence[Volume]) -> None:
        """Let the instance come up if the keys of all these volumes can be used, and go back to stopped otherwise.

        EBS User Guide, "Amazon EventBridge events for Amazon EBS": reattachVolume, failed for an invalid KMS key.
        """
        if instance.state != "pending":
            return
        if not volumes:
            self._come_up(instance)
            return
        first, *others = volumes

        def take(found: str | None) -> None:
            if found is not None:
                self._reattach(instance, others)
            elif instance.state == "pending":
                cause = f"{first.kms_key_id} is not accessible."
                arn = self._volume_arn(first)
                self.send_event(volume_changed("reattachVolume", volume_arn=arn, result="failed", cause=cause))
                instance.state_reason = StateReason("Client.InternalError: Client error on launch", _KEY_FAILED)
                self._enter(instance, "stopped")

        self.check_key(str(first.kms_key_id), take, after=timedelta())

    def stop(self, instance_ids: Sequence[str]) -> list[StateChange]:
        """StopInstances: a running instance becomes stopping. An instance-store-backed one cannot be stopped."""
        instances = [self.get_instance(each) for each in instance_ids]
        for instance in instances:
            if instance.state not in ("running", "stopping", "stopped"):
                raise _incorrect_state(instance, "stopped")
            if instance.root_device_type != "ebs":
                raise refuse(
                    "UnsupportedOperation",
                    f"The instance '{instance.id}' does not have an 'ebs' root device type and cannot be stopped",
                )
            if instance.disable_api_stop is True:
                raise OperationDisableApiStopNotPermitted(instance.id)
        changes = []
        for instance in instances:
            previous = instance.state
            if previous == "running":
                self._enter(instance, "stopping", then=partial(self._finish_stopping, instance), after=_STOP)
            changes.append(StateChange(instance_id=instance.id, previous=previous, current=instance.state))
        return changes

    def _finish_stopping(self, instance: Instance) -> None:
        self._flush(instance)
        instance.stop()
        self._launches[instance.id].running_since = None
        self._enter(instance, "stopped")

    def reboot(self, instance_ids: Sequence[str]) -> None:
        """RebootInstances: running instances restart their operating system; others are refused with IncorrectState."""
        instances = [self.get_instance(each) for each in instance_ids]
        for instance in instances:
            if instance.state != "running":
                raise refuse("IncorrectState", f"The instance '{instance.id}' is not in the 'running' state.")
        for instance in instances:
            self.note_reboot(instance)

    def note_reboot(self, instance: Instance) -> None:
        """The operating system restarts: caches reach the disks, the state stays running, and no event is sent."""
        self._flush(instance)
        self._launches[instance.id].rebooted_at.append(self.now)

    def _flush(self, instance: Instance) -> None:
        for volume in self.volumes_of(instance).values():
            volume.freeze()
            volume.thaw()

    def terminate(self, instance_ids: Sequence[str]) -> list[StateChange]:
        """TerminateInstances: from any state; a terminated instance stays as it is."""
        if not instance_ids:
            raise refuse("InvalidParameterCombination", "No instances specified")
        instances = [self.get_instance(each) for each in instance_ids]
        for instance in instances:
            if instance.disable_api_termination is True:
                raise OperationNotPermitted4(instance.id)
        changes = []
        for instance in instances:
            previous = instance.state
            if previous not in ("shutting-down", "terminated"):
                self._terminate(
                    instance,
                    reason="Client.UserInitiatedShutdown",
                    message="User initiated shutdown",
                )
            changes.append(StateChange(instance_id=instance.id, previous=previous, current=instance.state))
        return changes

    def _terminate(self, instance: Instance, *, reason: str, message: str) -> None:
        def finish() -> None:
            for device, block in instance.get_block_device_mapping:
                self.detach_volume(block.volume_id, instance.id, device)
                if block.delete_on_termination:
                    self.delete_volume(block.volume_id)
            instance.terminate()
            instance.state_reason = StateReason(f"{reason}: {message}", reason)
            self._enter(instance, "terminated", then=partial(self._forget, instance), after=_VISIBLE_AFTER_TERMINATION)

        self._launches[instance.id].running_since = None
        is_stuck = instance.id in self._stuck
        self._enter(instance, "shutting-down", then=None if is_stuck else finish, after=_TERMINATION)

    def schedule_event(self, instance_id: str, code: str, *, not_before: datetime) -> None:
        """Let AWS have scheduled an event for the instance: for tests.

        EC2 User Guide, "Scheduled events for Amazon EC2 instances": instance-stop, instance-retirement,
        instance-reboot, system-reboot, system-maintenance.
        """
        number = self.world.random.getrandbits(64)
        self.launch_of(instance_id).events.append(
            {
                "InstanceEventId": f"instance-event-{number:017x}",
                "Code": code,
                "Description": f"The instance is scheduled for {code}.",
                "NotBefore": not_before,
                "NotAfter": not_before + timedelta(hours=2),
                "NotBeforeDeadline": not_before + timedelta(days=7),
            }
        )

    def recover(self, instance_id: str) -> None:
        """What the alarm action `recover` does to an impaired instance: for tests.

        EC2 User Guide, "CloudWatch action based recovery": identical to the original, ids, addresses and volumes
        included, after a restart; what was in memory is lost.
        """
        instance, launch = self.get_instance(instance_id), self.launch_of(instance_id)
        if instance.state != "running" or not launch.is_impaired:
            raise refuse("IncorrectInstanceState", f"The instance '{instance_id}' is not impaired.")
        for volume in self.volumes_of(instance).values():
            volume.unflushed.clear()
        launch.is_impaired = False
        launch.rebooted_at.append(self.now)
        launch.running_since = self.now
        self._await_checks(launch)

    def stick(self, instance_id: str) -> None:
        """Let the instance stay in `shutting-down` once it gets there: for tests.

        "For several hours", before EC2 "treats it as a stuck instance and forcibly terminates it" (EC2 User Guide,
        "Troubleshoot instance termination").
        """
        self._stuck.add(self.get_instance(instance_id).id)

    def _forget(self, instance: Instance) -> None:
        reservation = self._launches.pop(instance.id).reservation
        reservation.instances.remove(instance)
        if not reservation.instances:
            del self.reservations[reservation.id]
        self._instances_by_id.pop(instance.id, None)
        self.forget_tags(instance.id)


def _is_standard(instance_type: str) -> bool:
    family = re.match(r"[a-z]+", instance_type)
    return family is not None and family.group() in STANDARD_FAMILIES | {"im", "is"}


def _vcpus(instance_type: str) -> int:
    vcpus: int = INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"] if instance_type in INSTANCE_TYPES else 0
    return vcpus


def _incorrect_state(instance: Instance, wanted: str) -> Exception:
    return refuse(
        "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be {wanted}."
    )
