"""Connect what was restored to its surroundings. A drill is connected to nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from hikae.domain.manifest import ManifestInstance
from hikae.domain.recovery_settings import InstanceSettings
from hikae.domain.runs import DONE, Member, Mode, Run, Step
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Refused


def network(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:  # noqa: ARG001 - as every step
    """Give each instance its Elastic IP address and its target groups, as the settings name them for here.

    What cannot be given is noted and stops nothing: an instance without its address is better than none.
    """
    if run.request.mode is Mode.DRILL:
        return run, DONE
    settings = site.settings.load()
    for member in run.members:
        if not member.is_instance or member.networked:
            continue
        instance = site.manifest(member).instance
        assert instance is not None, "only instances are left"
        own = settings.instances.get(member.resource, InstanceSettings())
        notes = (*member.notes, *_connect(member, instance, own, site))
        run = run.with_member(replace(member, networked=True, notes=notes))
        site.save(run)
    return run, DONE


def _connect(member: Member, instance: ManifestInstance, own: InstanceSettings, site: RecoverySite) -> list[str]:
    notes = []
    if instance.described.get("SourceDestCheck") is False:
        notes.extend(
            _try(
                "its source/destination check",
                partial(site.recoverer.set_source_dest_check, member.instance, enabled=False),
            )
        )
    if own.elastic_ip:
        notes.extend(
            _try(
                f"Elastic IP address {own.elastic_ip}",
                partial(site.recoverer.associate_address, member.instance, own.elastic_ip),
            )
        )
    elif instance.elastic_ips:
        addresses = ", ".join(str(each.get("PublicIp", "")) for each in instance.elastic_ips)
        notes.append(f"it had the Elastic IP address {addresses}; name what stands for it here under elastic_ip")
    for group in own.target_groups:
        notes.extend(_try(f"target group {group}", partial(site.recoverer.register_targets, member.instance, group)))
    if len(instance.network_interfaces) > 1:
        notes.append(f"it had {len(instance.network_interfaces)} network interfaces; it has the first one")
    return notes


def _try(what: str, act: Callable[[], None]) -> list[str]:
    try:
        act()
    except Refused as error:
        return [f"it did not get {what}: {error}"]
    return []
