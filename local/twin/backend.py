"""The twin's EC2, put together, and put into moto's place."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, unquote, urlsplit

import moto.core.responses
import moto.ec2.urls
import moto.s3.urls
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import method_names_from_class
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.responses import EC2Response
from moto.s3.models import S3Backend

from local.twin import absent_services, commands, ebs_direct, recycle_bin, service_quotas, signing
from local.twin.addresses import AddressesBackend, AddressesResponse
from local.twin.deprecation import DeprecationBackend, DeprecationResponse
from local.twin.fast_restore import FastRestoreBackend, FastRestoreResponse
from local.twin.key_pairs import KeyPairsResponse
from local.twin.launch_options import LaunchOptionsResponse
from local.twin.root_volumes import RootVolumesBackend, RootVolumesResponse
from local.twin.security_groups import SecurityGroupsBackend
from local.twin.tiers import TiersBackend, TiersResponse
from local.twin.volume_changes import VolumeChangesBackend, VolumeChangesResponse
from local.twin.volume_copies import VolumeCopiesBackend, VolumeCopiesResponse
from local.twin.volume_status import VolumeStatusBackend, VolumeStatusResponse
from local.twin.world import World, install_world, remove_world


class TwinBackend(
    TiersBackend,
    FastRestoreBackend,
    DeprecationBackend,
    VolumeStatusBackend,
    VolumeCopiesBackend,
    VolumeChangesBackend,
    RootVolumesBackend,
    AddressesBackend,
    SecurityGroupsBackend,
):
    """EC2 of one account in one Region."""


class TwinResponse(
    TiersResponse,
    FastRestoreResponse,
    DeprecationResponse,
    VolumeStatusResponse,
    VolumeCopiesResponse,
    VolumeChangesResponse,
    RootVolumesResponse,
    LaunchOptionsResponse,
    AddressesResponse,
    KeyPairsResponse,
):
    """One request to EC2."""


@contextmanager
def installed(world: World) -> Iterator[None]:
    """Let moto's EC2 of this process be the twin, living in `world`, until the block ends."""
    backends: Any = ec2_backends
    backends.clear()
    backends.backend = TwinBackend
    moto.ec2.urls.url_paths["{0}/"] = TwinResponse.dispatch
    install_world(world)
    try:
        with _answering_neighbours(), _remembering():
            yield
    finally:
        backends.clear()
        backends.backend = EC2Backend
        moto.ec2.urls.url_paths["{0}/"] = EC2Response.dispatch
        remove_world()


@contextmanager
def _remembering() -> Iterator[None]:
    """Spare moto a third of what it does for a request: neither a class's methods nor S3's paths change meanwhile."""
    with (
        patch.object(moto.core.responses, "method_names_from_class", cache(method_names_from_class)),
        patch.object(S3Backend, "_url_module", moto.s3.urls),
    ):
        yield


@contextmanager
def _answering_neighbours() -> Iterator[None]:
    """Let requests of this process reach the twin that moto does not know (the Recycle Bin) or gets wrong."""
    original = BotocoreStubber.process_request

    def process_request(stubber: BotocoreStubber, request: Any) -> Any:
        parts = urlsplit(request.url)
        authorization = _text(request.headers.get("Authorization", ""))
        if absent_services.is_absent(authorization):
            return absent_services.refuse(authorization=authorization, method=request.method, path=parts.path)
        found = re.fullmatch(r"(rbin|ssm|kms|servicequotas|ebs)\.([a-z0-9-]+)\.amazonaws\.com", parts.netloc)
        if found is None:
            return original(stubber, request)
        service, region = found.groups()
        account_id = _account_of(authorization)
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        if service == "ebs":
            asked = ebs_direct.Asked(
                method=request.method,
                path=unquote(parts.path),
                query=dict(parse_qsl(parts.query)),
                header=lambda name: _text_or_none(request.headers.get(name)),
                body=body,
                account_id=account_id,
                region=region,
            )
            return ebs_direct.answer(asked)
        if service == "rbin":
            return recycle_bin.answer(
                method=request.method, path=parts.path, body=body, account_id=account_id, region=region
            )
        target = _text(request.headers.get("X-Amz-Target", ""))
        if service == "ssm" and target in commands.ACTIONS:
            return commands.answer(target=target, body=body, account_id=account_id, region=region)
        if service == "servicequotas":
            answered = service_quotas.answer(target=target, body=body, account_id=account_id, region=region)
            return original(stubber, request) if answered is None else answered
        if target == signing.ACTION:
            return signing.sign(body, account_id=account_id, region=region, go_on=lambda: original(stubber, request))
        return original(stubber, request)

    with patch.object(BotocoreStubber, "process_request", process_request):
        yield


def _text_or_none(value: str | bytes | None) -> str | None:
    return None if value is None else _text(value)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _account_of(authorization: str) -> str:
    from moto.iam.models import get_account_id_from  # noqa: PLC0415 (as heavy as in local.twin.callers)

    key = re.search(r"Credential=([A-Z0-9]+)/", authorization)
    is_role = key is not None and "MOTO_ACCOUNT_ID" not in os.environ
    return get_account_id_from(key[1]) if key is not None and is_role else get_account_id()


def get_account_id() -> str:
    """The account of a caller that took no role."""
    return os.environ.get("MOTO_ACCOUNT_ID", DEFAULT_ACCOUNT_ID)
