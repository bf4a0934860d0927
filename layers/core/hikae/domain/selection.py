"""Which resources a rule protects, and why not the others that its plan names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hikae.domain.model import Instance, Kind, ResourceId, SourceVolume, Volume, VolumeExclusion
from hikae.domain.naming import DRILL
from hikae.domain.plan import Rule, Selection

MAX_LEFT_OUT: Final = 40
"""How many data volumes one CreateSnapshots can leave out.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A resource that the rule protects, and as what; `left_out` says what of it no point can have."""

    resource: ResourceId
    kind: Kind
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotectable:
    """A resource that the plan names and that cannot have the point that the rule asks for."""

    resource: ResourceId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A resource that the plan names and that needs no point, and why."""

    resource: ResourceId
    reason: str


Choice = Selected | Unprotectable | Skipped | None


def choose_instance(  # noqa: PLR0911 - every return is a choice of its own
    selection: Selection,
    rule: Rule,
    instance: Instance,
    *,
    instance_stores: Mapping[str, str] | None = None,
    volume_tags: Mapping[str, Mapping[str, str]] | None = None,
) -> Choice:
    """What `rule` makes of `instance`; None where the plan does not name it, or it does not exist any more.

    `volume_tags` are those of its volumes, by their ids, as far as they are known.

    Stopped instances are protected like running ones. Instance-store volumes are in no snapshot and no image, whatever
    the root device is; `instance_stores` says by instance type which it has:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html
    """
    if "instance" not in selection.resources or not _is_named(selection, instance.tags):
        return None
    if instance.state == "terminated":
        return None
    if DRILL in instance.tags:
        return Skipped(resource=instance.id, reason=f"the drill {instance.tags[DRILL]} made it")
    if instance.state == "shutting-down":
        return Skipped(resource=instance.id, reason="it is shutting down for good")
    if instance.root_device_type != "ebs":
        reason = "its root device is an instance store, which EC2 can neither snapshot nor make an image of"
        return Unprotectable(resource=instance.id, reason=reason)
    if not instance.block_devices and instance.state == "pending":
        return Skipped(resource=instance.id, reason="its volumes are not attached yet; the next tick sees them")
    if not instance.block_devices:
        return Unprotectable(resource=instance.id, reason="it has no EBS volume")
    if rule.protect != "image" and not rule.exclude_volumes.is_empty:
        volumes = _volumes_of(instance, volume_tags or {})
        left_out_of_set = exclude_volumes(rule.exclude_volumes, volumes)
        if reason := refuse_left_out(volume for volume in volumes if volume.id in left_out_of_set):
            return Unprotectable(resource=instance.id, reason=reason)
    stores = (instance_stores or {}).get(instance.type)
    left_out = (f"{stores}: instance stores are in no snapshot and no image",) if stores else ()
    kind = Kind.IMAGE if rule.protect == "image" else Kind.SNAPSHOT_SET
    return Selected(resource=instance.id, kind=kind, left_out=left_out)


def choose_volume(selection: Selection, rule: Rule, volume: Volume) -> Choice:
    """What `rule` makes of `volume`; None where the plan does not name it, or it is protected with its instance."""
    if "volume" not in selection.resources or not _is_named(selection, volume.tags):
        return None
    if volume.attached_to is not None or volume.state != "available":
        return None
    if DRILL in volume.tags:
        return Skipped(resource=volume.id, reason=f"the drill {volume.tags[DRILL]} made it")
    if rule.protect == "image":
        return Unprotectable(resource=volume.id, reason="an image is made of an instance, and it is a detached volume")
    return Selected(resource=volume.id, kind=Kind.SNAPSHOT)


def exclude_volumes(exclusion: VolumeExclusion, volumes: Iterable[SourceVolume]) -> dict[str, str]:
    """The volumes that a rule leaves out, by their ids, each with the reason."""
    reasons = {volume.id: _exclude(exclusion, volume) for volume in volumes}
    return {volume_id: reason for volume_id, reason in reasons.items() if reason}


def refuse_left_out(volumes: Iterable[SourceVolume]) -> str:
    """Why no snapshot set can leave out these volumes; empty where one can."""
    number = sum(not volume.is_boot for volume in volumes)
    if number <= MAX_LEFT_OUT:
        return ""
    return (
        f"exclude_volumes leaves out {number} of its data volumes, and EC2 leaves at most {MAX_LEFT_OUT} out of a "
        "snapshot set: leave out fewer, or protect it by a rule with `protect: image`"
    )


def _volumes_of(instance: Instance, tags: Mapping[str, Mapping[str, str]]) -> list[SourceVolume]:
    return [
        SourceVolume(
            id=device.volume_id,
            device=device.device,
            is_boot=device.device == instance.root_device,
            tags=tags.get(device.volume_id, {}),
        )
        for device in instance.block_devices
    ]


def _exclude(exclusion: VolumeExclusion, volume: SourceVolume) -> str:
    for key, values in sorted(exclusion.tags.items()):
        if volume.tags.get(key) in values:
            return f"the plan leaves out volumes with the tag {key}={volume.tags[key]}"
    if volume.device and volume.device in exclusion.devices:
        return f"the plan leaves out the device {volume.device}"
    if exclusion.boot and volume.is_boot:
        return "the plan leaves out the boot volume"
    if exclusion.data and not volume.is_boot:
        return "the plan leaves out data volumes"
    return ""


def _is_named(selection: Selection, tags: Mapping[str, str]) -> bool:
    is_chosen = any(all(tags.get(key) in values for key, values in wanted.items()) for wanted in selection.tags)
    return is_chosen and not any(tags.get(key) in values for key, values in selection.exclude_tags.items())
