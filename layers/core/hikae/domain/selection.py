"""Which resources a rule protects, and why not the others that its plan names."""

from collections.abc import Mapping
from dataclasses import dataclass

from hikae.domain.model import Instance, Kind, ResourceId, Volume
from hikae.domain.plan import Rule, Selection

_GONE = frozenset({"shutting-down", "terminated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A resource that the rule protects, and as what."""

    resource: ResourceId
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotectable:
    """A resource that the plan names and that cannot have the point that the rule asks for."""

    resource: ResourceId
    reason: str


Choice = Selected | Unprotectable | None


def choose_instance(selection: Selection, rule: Rule, instance: Instance) -> Choice:
    """What `rule` makes of `instance`; None where the plan does not name it, or it is on its way out.

    Stopped instances are protected like running ones. Instance-store volumes are in no snapshot and no image:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/InstanceStorage.html
    """
    if "instance" not in selection.resources or not _is_named(selection, instance.tags) or instance.state in _GONE:
        return None
    if instance.root_device_type != "ebs":
        reason = "its root device is an instance store, which EC2 can neither snapshot nor make an image of"
        return Unprotectable(resource=instance.id, reason=reason)
    if not instance.block_devices and instance.state == "pending":
        return None  # its volumes are not attached yet; the next tick sees them
    if not instance.block_devices:
        return Unprotectable(resource=instance.id, reason="it has no EBS volume")
    return Selected(resource=instance.id, kind=Kind.IMAGE if rule.protect == "image" else Kind.SNAPSHOT_SET)


def choose_volume(selection: Selection, rule: Rule, volume: Volume) -> Choice:
    """What `rule` makes of `volume`; None where the plan does not name it, or it is protected with its instance."""
    if "volume" not in selection.resources or not _is_named(selection, volume.tags):
        return None
    if volume.attached_to is not None or volume.state != "available":
        return None
    if rule.protect == "image":
        return Unprotectable(resource=volume.id, reason="an image is made of an instance, and it is a detached volume")
    return Selected(resource=volume.id, kind=Kind.SNAPSHOT)


def _is_named(selection: Selection, tags: Mapping[str, str]) -> bool:
    is_chosen = any(all(tags.get(key) in values for key, values in wanted.items()) for wanted in selection.tags)
    return is_chosen and not any(tags.get(key) in values for key, values in selection.exclude_tags.items())
