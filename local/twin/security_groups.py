"""Security groups: one that something holds cannot be deleted.

Source: EC2 API Reference, DeleteSecurityGroup: a group that is associated with an instance or network interface, or is
referenced by another group of its VPC, is refused with DependencyViolation.
"""

from __future__ import annotations

from typing import Any

from local.twin.core import CoreBackend
from local.twin.errors import refuse


class SecurityGroupsBackend(CoreBackend):
    """The security groups of one account in one Region."""

    def _delete_security_group(self, vpc_id: str | None, group_id: str) -> None:
        interfaces: dict[str, Any] = self.enis
        others = [group for groups in self.groups.values() for group in groups.values() if group.id != group_id]
        is_held = any(group.id == group_id for each in interfaces.values() for group in each.group_set)
        is_named = any(
            (rule.source_group or {}).get("GroupId") == group_id
            for group in others
            for rule in (*group.ingress_rules, *group.egress_rules)
        )
        if is_held or is_named:
            raise refuse("DependencyViolation", f"resource {group_id} has a dependent object")
        super()._delete_security_group(vpc_id, group_id)
