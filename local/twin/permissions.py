"""What a role may do in EC2: its policies in moto's IAM, conditions and all, asked before anything is carried out.

Sources: Service Authorization Reference, "Actions, resources, and condition keys for Amazon EC2"; EC2 User Guide,
"Grant permission to tag Amazon EC2 resources during creation" (ec2:CreateTags with ec2:CreateAction); EC2 API
Reference, "Error codes" (UnauthorizedOperation, status 403; a dry run that would have been allowed is DryRunOperation).
ARNs of snapshots and images have no account.

Enforced only where a test asks for it (`World.permissions.is_enforced`), and for assumed roles alone: an account's own
credentials may do everything, as its root may. A condition key that is not known here is refused by name rather than
taken for one that the request does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from local.twin.callers import Caller
from local.twin.errors import refuse
from local.twin.policies import Question, as_list, is_allowed, read_statements

FORBIDDEN = 403
_WITHOUT_ACCOUNT = ("snapshot", "image")
_TYPES = {
    "vol": "volume",
    "snap": "snapshot",
    "i": "instance",
    "ami": "image",
    "subnet": "subnet",
    "sg": "security-group",
    "eni": "network-interface",
    "lt": "launch-template",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
# What an action makes, beside the tags that it may give it.
_MADE: Mapping[str, Sequence[str]] = {
    "CopyImage": ("image", "snapshot"),
    "CopySnapshot": ("snapshot",),
    "CopyVolumes": ("volume",),
    "CreateImage": ("image", "snapshot"),
    "CreateSecurityGroup": ("security-group",),
    "CreateSnapshot": ("snapshot",),
    "CreateSnapshots": ("snapshot",),
    "CreateVolume": ("volume",),
    "CreateVpcEndpoint": ("vpc-endpoint",),
    "RegisterImage": ("image",),
    "RunInstances": ("instance", "volume", "network-interface"),
}
_KNOWN = re.compile(
    r"(aws:(requestedregion|principalaccount|principalarn|resourceaccount|tagkeys|(request|resource)tag/.+)"
    r"|ec2:(region|createaction|owner|resourcetag/.+))"
)


@dataclass(slots=True)
class Permissions:
    """Whether policies are looked at at all.

    `at_work` tells the statements of whoever sends requests, where a test knows that better than the credentials do;
    None where everything is allowed.
    """

    is_enforced: bool = False
    at_work: Callable[[], Sequence[Mapping[str, Any]] | None] | None = None


def check_permission(backend: Any, caller: Caller, action: str, parameters: Mapping[str, Any]) -> EC2ClientError | None:
    """The refusal of a request that the caller's policies do not allow; None if they do."""
    at_work = backend.world.permissions.at_work
    statements = at_work() if at_work is not None else None
    if caller.role is None and statements is None:
        return None
    policies = _policies_of(caller) if statements is None else [[{"Statement": list(statements)}]]
    for documents in policies:
        _check_keys(documents)
    for question in _questions(backend, caller, action, parameters):
        if not all(is_allowed(documents, question) for documents in policies):
            return refuse(
                "UnauthorizedOperation",
                f"You are not authorized to perform this operation. User: {caller.arn} is not authorized to perform:"
                f" {question.action} on resource: {question.resource}",
            )
    return None


def _policies_of(caller: Caller) -> list[list[Any]]:
    """The role's policies, and those of the session if it has some: both have to allow."""
    from moto.iam.models import iam_backends  # noqa: PLC0415 (moto's IAM is heavy, and is needed only here)

    roles = {role.name: role for role in iam_backends[caller.account_id]["aws"].roles.values()}
    role: Any = roles.get(caller.role or "")
    documents: list[Any] = []
    if role is not None:
        if role.permissions_boundary_arn:
            raise NotImplementedError(f"the permissions boundary of {caller.arn}")
        documents = [*role.policies.values(), *(each.document for each in role.managed_policies.values())]
    return [documents, *([[caller.session_policy]] if caller.session_policy else [])]


def _check_keys(documents: Iterable[Any]) -> None:
    """Refuse condition keys that are not known, in statements about EC2."""
    for statement in (each for document in documents for each in read_statements(document)):
        if not any(each.startswith(("ec2:", "*")) for each in as_list(statement.get("Action", "ec2:"))):
            continue
        for key in (key for keys in statement.get("Condition", {}).values() for key in keys):
            if not _KNOWN.fullmatch(key.lower()):
                raise NotImplementedError(f"the IAM condition key {key}")


def _questions(backend: Any, caller: Caller, action: str, parameters: Mapping[str, Any]) -> Iterator[Question]:
    common = {
        "aws:requestedregion": [backend.region_name],
        "ec2:region": [backend.region_name],
        "aws:principalaccount": [caller.account_id],
        "aws:principalarn": [caller.arn],
    }
    own_account = {"aws:resourceaccount": [backend.account_id]}
    if action.startswith(("Describe", "List")):
        yield Question(action=f"ec2:{action}", resource="*", context=common)
        return
    tags_by_type = _requested_tags(action, parameters)
    named = list(_named(parameters))
    for resource_id in named:
        kind = _type_of(resource_id)
        own = {
            **common,
            **own_account,
            **_tag_context("resource", backend.tags_of(resource_id)),
            **_owner(backend, resource_id),
        }
        if action in ("CreateTags", "DeleteTags"):
            own.update(_tag_context("request", tags_by_type.get("", {})))
        if action.startswith("Copy"):
            # The Service Authorization Reference has one row for source and copy, with aws:RequestTag.
            own.update(_tag_context("request", tags_by_type.get(kind, {})))
        yield Question(action=f"ec2:{action}", resource=_arn(backend, kind, resource_id), context=own)
    for kind in _MADE.get(action, ()):
        asked = _tag_context("request", tags_by_type.get(kind, {}))
        yield Question(
            action=f"ec2:{action}", resource=_arn(backend, kind, "*"), context={**common, **own_account, **asked}
        )
    for kind, tags in tags_by_type.items():
        if kind:
            context = {**common, **own_account, **_tag_context("request", tags), "ec2:createaction": [action]}
            yield Question(action="ec2:CreateTags", resource=_arn(backend, kind, "*"), context=context)
    if action == "CreateVpcEndpoint" and parameters.get("PrivateDnsEnabled"):
        # "Actions, resources, and condition keys for Amazon EC2" has it as a dependent action; the key is of "Actions,
        # resources, and condition keys for Amazon Route 53". The zone is the service's own, and nobody knows its id.
        context = {**common, "route53:vpcs": [f"VPCId={parameters['VpcId']},VPCRegion={backend.region_name}"]}
        zone = f"arn:aws:route53:::hostedzone/Z{backend.region_name.upper().replace('-', '')}"
        yield Question(action="route53:AssociateVPCWithHostedZone", resource=zone, context=context)
    if not named and action not in _MADE:
        yield Question(action=f"ec2:{action}", resource="*", context=common)


def _requested_tags(action: str, parameters: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    if action in ("CreateTags", "DeleteTags"):
        return {"": {each["Key"]: each.get("Value") or "" for each in parameters.get("Tags") or ()}}
    specifications = parameters.get("TagSpecifications") or parameters.get("TagSpecification") or ()
    return {
        each["ResourceType"]: {tag["Key"]: tag.get("Value", "") for tag in each.get("Tags", ())}
        for each in specifications
    }


def _named(parameters: Any) -> Iterable[str]:
    """Every id that a request names, but for those in tags and descriptions."""
    found: dict[str, None] = {}

    def look(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, each in value.items():
                look(key, each)
        elif isinstance(value, list):
            for each in value:
                look(name, each)
        elif isinstance(value, str) and name.endswith(("Id", "Ids", "Resources")) and _type_of(value):
            found[value] = None

    for name, value in parameters.items():
        if name not in ("Tags", "TagSpecifications", "TagSpecification", "ClientToken"):
            look(name, value)
    return found


def _type_of(resource_id: str) -> str:
    prefix, _, rest = resource_id.partition("-")
    return _TYPES.get(prefix, "") if re.fullmatch(r"[0-9a-f]{8,17}", rest) else ""


def _arn(backend: Any, kind: str, resource_id: str) -> str:
    account = "" if kind in _WITHOUT_ACCOUNT else backend.account_id
    return f"arn:aws:ec2:{backend.region_name}:{account}:{kind}/{resource_id}"


def _tag_context(what: str, tags: Mapping[str, str]) -> dict[str, list[str]]:
    context = {f"aws:{what}tag/{key.lower()}": [value] for key, value in tags.items()}
    if what == "request":
        return {**context, **({"aws:tagkeys": list(tags)} if tags else {})}
    return {**context, **{f"ec2:resourcetag/{key.lower()}": [value] for key, value in tags.items()}}


def _owner(backend: Any, resource_id: str) -> dict[str, list[str]]:
    resource = backend.snapshots.get(resource_id) or backend.amis.get(resource_id)
    if resource is None:
        return {}
    return {"ec2:owner": [resource.owner_id], "aws:resourceaccount": [resource.owner_id]}
