"""Connect what was restored to its surroundings, and give it what no launch can. A drill is connected to nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from hikae.domain.fidelity import find_differences
from hikae.domain.launches import volume_tags
from hikae.domain.manifest import Manifest
from hikae.domain.networks import addresses_of, index_of
from hikae.domain.runs import DONE, Member, Mode, Run, Step
from hikae.domain.targets import StandIn, Target, restore_target
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Refused


def network(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:  # noqa: ARG001 - as every step
    """Give each instance its addresses and target groups, as the settings name them for here, and its volumes' tags.

    In what it differs from the one that was protected, by what EC2 says now, is noted, too.

    What cannot be given is noted and stops nothing: an instance without its address is better than none.
    """
    if run.request.mode is Mode.DRILL:
        return run, DONE
    settings = site.settings.load()
    for member in run.members:
        if not member.is_instance or member.networked:
            continue
        manifest = site.manifest(member)
        target = restore_target(member.resource, manifest, settings)
        described = site.recoverer.look(member.instance)
        notes = (
            *member.notes,
            *_check_sources(manifest, described, site),
            *_associate(target, described, site),
            *_register(target, member, described, site),
            *_tag_volumes(manifest, described, site),
            *find_differences(manifest, described),
        )
        run = run.with_member(replace(member, networked=True, notes=notes))
        site.save(run)
    return run, DONE


def _check_sources(manifest: Manifest, described: Mapping[str, Any], site: RecoverySite) -> list[str]:
    """Whether an interface passes on what is not its own, such as a NAT instance's, cannot be said while launching."""
    assert manifest.instance is not None, "only instances are left"
    open_ones = {
        index_of(each) for each in manifest.instance.network_interfaces if each.get("SourceDestCheck") is False
    }
    if manifest.instance.described.get("SourceDestCheck") is False:
        open_ones.add(0)
    notes: list[str] = []
    for index, interface in _interfaces(described).items():
        if index in open_ones:
            turn_off = partial(site.recoverer.set_source_dest_check, interface["NetworkInterfaceId"], enabled=False)
            notes += _try(f"source/destination check of network interface {index} turned off", turn_off)
    return notes


def _associate(target: Target, described: Mapping[str, Any], site: RecoverySite) -> list[str]:
    interfaces = _interfaces(described)
    notes: list[str] = []
    for each in target.elastic_ips:
        what = f"Elastic IP address {each.id}"
        address = _address_of(each, interfaces)
        if not address:
            notes.append(f"it did not get {what}: it has no network interface {each.device} with such an address")
            continue
        interface = interfaces[each.device]["NetworkInterfaceId"]
        notes += _try(what, partial(site.recoverer.associate_address, interface, address, each.id))
    return notes


def _register(target: Target, member: Member, described: Mapping[str, Any], site: RecoverySite) -> list[str]:
    notes: list[str] = []
    for each in target.target_groups:
        what = f"target group {each.id}"
        registered = _address_of(each, _interfaces(described)) if each.is_address else member.instance
        if not registered:
            notes.append(f"it did not get {what}: it has no network interface {each.device} with such an address")
            continue
        notes += _try(what, partial(site.recoverer.register_target, registered, each.id, port=each.port))
    return notes


def _tag_volumes(manifest: Manifest, described: Mapping[str, Any], site: RecoverySite) -> list[str]:
    """A launch gives all volumes the same tags: those of the run. Each gets its own beside them."""
    restored = {
        str(each["DeviceName"]): str(each["Ebs"]["VolumeId"])
        for each in described.get("BlockDeviceMappings", ())
        if "Ebs" in each
    }
    notes: list[str] = []
    for volume in manifest.protected_volumes:
        tags = volume_tags(volume)
        if tags and volume.device in restored:
            give = partial(site.recoverer.tag_volume, restored[volume.device], tags)
            notes += _try(f"the tags of its volume at {volume.device}", give)
    return notes


def _interfaces(described: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    return {index_of(each): each for each in described.get("NetworkInterfaces", ())}


def _address_of(stand_in: StandIn, interfaces: Mapping[int, Mapping[str, Any]]) -> str:
    held = addresses_of(interfaces.get(stand_in.device, {}))
    return held[stand_in.position] if stand_in.position < len(held) else ""


def _try(what: str, act: Callable[[], None]) -> list[str]:
    try:
        act()
    except Refused as error:
        return [f"it did not get {what}: {error}"]
    return []
