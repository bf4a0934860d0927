"""Connect the members of a drill: by a security group of the drill's own, within which all reach each other."""

from dataclasses import replace

from hikae.domain.launches import drill_group_request, name_drill_group
from hikae.domain.runs import Mode, Run
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Refused


def connect_members(run: Run, site: RecoverySite) -> Run:
    """The run with its security group, which is made once. A restore has the user's, and one instance reaches nobody.

    Where it is refused that is noted, and the drill goes on: a probe that needs the others will say so.
    """
    instances = [member for member in run.members if member.is_instance]
    if run.request.mode is not Mode.DRILL or run.group or len(instances) < _FEWEST or not site.network.vpc:
        return run
    name = name_drill_group(run, installation=site.installation)
    try:
        group = site.recoverer.find_group(site.network.vpc, name) or site.recoverer.create_group(
            drill_group_request(run, site.network, installation=site.installation)
        )
        site.recoverer.enclose_group(group)
    except Refused as error:
        note = f"the members of this drill cannot reach each other: {error}"
        return run.with_member(replace(instances[0], notes=tuple(dict.fromkeys([*instances[0].notes, note]))))
    run = replace(run, group=group)
    site.save(run)
    return run


_FEWEST = 2
