"""The contract of the twin, row by row, and that a test stands behind each of them.

A row is something that EC2 does and an emulator may not do. `@pytest.mark.contract("row")` says which one a test is
about. Where stock moto differs from EC2, at least one of a row's tests takes `cloud`, so that it runs against stock
moto, too, and a release that mends the row is noticed.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from local.twin.testing import shared_session

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

# Rows that stock moto gets wrong.
DIFFERING = {
    "create_volume": "is asynchronous; zone, size, IOPS and throughput are checked",
    "modify_volume": "takes effect slowly, one change at a time and four a day, never smaller",
    "attach_detach": "needs one zone, a free device and a live instance; both take their time",
    "create_snapshot": "is pending with progress first, and completed or in error later",
    "snapshot_size": "is that of the volume when the snapshot was started",
    "create_snapshots": "leaves out what it is told to, copies tags, and makes all or nothing, at one instant",
    "copy_snapshot": "is asynchronous; keys are found wanting later; volume ids are arbitrary; 20 at once",
    "create_image": "makes a snapshot of each volume, under a unique name; it is pending until they are completed",
    "register_image": "stands on the snapshots that are named",
    "copy_image": "copies every snapshot, with tags, keys and a client token",
    "deregister_image": "deletes the associated snapshots if asked to, but for those that others need",
    "delete_snapshot": "is refused while a registered image needs the snapshot",
    "image_sharing": "lets other accounts see, launch and, with its snapshots, copy; public only where not blocked",
    "snapshot_sharing": "lets other accounts see, copy and restore; not under the default key, not encrypted to all",
    "pagination": "has pages, which may be short",
    "owners": "tells only what is of the owners and restorers asked for",
    "filters": "ORs values and knows two wildcards; dates, mappings and sources can be filtered by",
    "dry_run": "is known to every operation",
    "tags": "have limits and a reserved prefix, and go with their resource",
    "deprecation": "hides an image from others, and from nobody by its id",
    "lock": "keeps a snapshot; compliance cannot be lifted after its cooling-off period",
    "fast_snapshot_restore": "is enabled slowly, for a few snapshots",
    "block_public_access": "refuses new public sharing, and may hide what is public",
    "replace_root_volume": "puts a root volume in the place of another, in a task",
    "describe_volume_status": "tells of checks, events and what to do",
    "copy_volumes": "copies what is on a volume at one instant",
    "archive_tier": "is slow to enter and to leave; what is in it cannot be used",
    "encryption_by_default": "applies to new volumes and to copies",
    "deregistration_protection": "keeps an image; with a cooldown, a day longer",
    "recycle_bin": "keeps what rules cover, and gives it back",
    "disable_image": "hides an image, and lets nobody launch it",
    "default_key": "can be set, and is used where no other is named",
    "throttling": "has a bucket for each action, account and Region",
    "ebs_direct": "reads and writes snapshots block by block, with tokens, checksums and idempotency",
    "run_instances_from_image": "makes the volumes that the image's mapping says, merged with the request's",
    "run_instances_arguments": "wants a key pair, a type and a machine that exist and fit, in one Region",
    "lifecycle": "goes through transitional states, and refuses what a state does not allow",
    "instance_type_change": "needs a stopped instance and a type that fits",
    "instance_status": "is initializing, ok or impaired, with events that can be filtered by",
    "terminate": "deletes an image's volumes unless told otherwise",
    "key_pairs": "are found by their ids, too",
    "alarms": "act on instances; an action that would is refused here",
    "imds": "serves each instance its own; there is none here, and it says so",
    "quotas": "are kept to, and told by Service Quotas",
    "client_token": "makes one thing of two calls, and fits one request",
    "accounts": "keep to themselves, and to what the policies of their roles allow",
    "tagging_api": "lags behind",
    "send_command": "takes its time, and can fail",
    "eventbridge": "is told of every transition, by EC2 alone",
    "eventual_consistency": "misses what is new, tells old states, and shows what is gone for a while",
    "launch_templates": "come in pages",
}
# Rows that stock moto lacks altogether, so that nothing of it could be run, or gets right.
OWN = {
    "store_image": "is not there, and says so",
    "instance_store_image": "cannot be stopped nor imaged; bundling is not there, and says so",
    "content": "is followed by digest and lineage from a volume to what is made of its copies",
    "frozen_content": "is what was on the disk when the snapshot was started",
    "clock": "is one, and moves by hand or scaled",
    "relay": "loses, doubles, delays and reorders events, the same for the same seed",
    "faults": "strike one call, before or after it is carried out",
    "server_faults": "do so in front of the server",
    "speed": "grows with what is asked for",
    "call_log": "tells action, caller, Region, parameters and outcome of every call",
    "high_water": "is the most that was under way at once",
    "state_digest": "is equal for equal runs",
}
# What let broken tools pass, and the rows that no longer let them.
GAPS = {
    "restores of images always succeed with a blank disk": ["run_instances_from_image", "content"],
    "a copied image stands on an unrelated snapshot": ["copy_image", "content"],
    "nothing is ever pending, failed or lost": ["create_snapshot", "create_image", "eventual_consistency"],
    "encryption of copies is ignored": ["copy_snapshot", "copy_image"],
    "owners are ignored": ["owners"],
    "everything is on one page": ["pagination"],
    "copies keep the volume id of their source": ["copy_snapshot"],
    "a retried CreateSnapshot makes a second one": ["faults"],
    "the order of pruning is checked in part": [
        "delete_snapshot",
        "register_image",
        "lock",
        "deregistration_protection",
    ],
    "snapshots of an image cannot be tagged in the call": ["create_image"],
    "errors of states, policies, Regions and keys never come": ["lifecycle", "accounts", "run_instances_arguments"],
    "no events come": ["eventbridge"],
}


@cache
def read_marks() -> dict[str, list[bool]]:
    """The rows that tests here are marked with, and for each test whether it runs against stock moto as well."""
    marks = defaultdict(list)
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                takes_cloud = any(argument.arg == "cloud" for argument in node.args.args)
                for row in (row for decorator in node.decorator_list for row in rows_of(decorator)):
                    marks[row].append(takes_cloud)
    return dict(marks)


def rows_of(decorator: ast.expr) -> list[str]:
    """The rows that a decorator names: none unless it is `@pytest.mark.contract(...)`."""
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.contract":
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


@pytest.mark.parametrize("row", [*DIFFERING, *OWN])
def test_every_row_has_a_test(row):
    assert read_marks().get(row), f"no test is marked with contract({row!r})"


@pytest.mark.parametrize("row", DIFFERING)
def test_every_row_that_stock_moto_gets_wrong_is_run_against_it(row):
    assert any(read_marks().get(row, [])), f"no test of {row!r} takes `cloud`"


def test_no_test_is_about_a_row_that_there_is_not():
    assert set(read_marks()) <= {*DIFFERING, *OWN}


@pytest.mark.parametrize("gap", GAPS)
def test_every_gap_is_closed_by_rows(gap):
    assert set(GAPS[gap]) <= {*DIFFERING, *OWN}


def test_the_calls_that_have_a_client_token_are_those_that_are_known_to(ec2_model):
    """What the rule on client tokens stands on: botocore's model, which may change with a release."""
    having = {
        name
        for name in ec2_model.operation_names
        if name.startswith(("Copy", "Create", "Register", "Run"))
        and "ClientToken" in (ec2_model.operation_model(name).input_shape or Nothing).members
    }
    assert {"CreateVolume", "CopyVolumes", "CopyImage", "RunInstances", "CreateReplaceRootVolumeTask"} <= having
    assert not {"CreateSnapshot", "CreateSnapshots", "CopySnapshot", "CreateImage", "RegisterImage"} & having


class Nothing:
    """The input of an operation that takes none."""

    members: tuple[str, ...] = ()


@pytest.fixture
def ec2_model():
    return shared_session().client("ec2", region_name="us-east-1").meta.service_model


def test_every_row_is_in_the_reference_and_every_module_that_it_names_exists():
    reference = (ROOT / "docs/reference/ec2-twin.md").read_text()
    cells = [line.split("|") for line in reference.splitlines() if line.startswith("| `")]
    documented = {row for cell in cells for row in re.findall(r"`(\w+)`", cell[1])}
    assert documented == {*DIFFERING, *OWN}
    modules = {name for cell in cells for name in re.findall(r"(\w+\.py)", cell[-3] + cell[-2])}
    assert modules
    assert [name for name in sorted(modules) if not (ROOT / "local/twin" / name).exists()] == []
