"""`hikae ready`: whether all that is protected could be restored now, and what to do where it could not."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from hikae.domain.model import SiteRole
from hikae_cli.site_options import find_region, installation_option
from hikae_cli.terminal import printable

if TYPE_CHECKING:
    from hikae.operations.check_readiness import Readiness


@click.command("ready")
@click.option("--no-primary", is_flag=True, help="Ask nothing of the primary: fetch no public halves of key pairs.")
@click.option("--import-keys", is_flag=True, help="Import key pairs that lack here and whose public half is kept.")
@installation_option
@click.option("--region", help="The recovery site's Region; by default that of HIKAE_RECOVERY_REGION.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the findings, then the summary.")
def ready(*, no_primary: bool, import_keys: bool, installation: str, region: str | None, as_json: bool) -> None:
    """Check that everything the primaries protect could be restored at the recovery site now.

    Looks at recovery points and manifests, recovery/settings.yaml, subnets and their free addresses, security groups,
    key pairs, instance profiles, Elastic IP addresses, target groups, offered instance types, vCPU quotas and the
    site's key; each finding says what to do.
    The public halves of key pairs are read from the primary while it answers, and kept in the site's bucket.

    Exit codes: 0 nothing lacks; 1 something lacks, or the site does not answer; 2 wrong usage.
    """
    from hikae.runtime import wiring  # noqa: PLC0415 - other commands need no boto3
    from hikae_cli.recovery_access import explained, open_site  # noqa: PLC0415

    where = find_region(SiteRole.RECOVERY, region)
    with explained(f"recovery site in {where}"):
        access = open_site(installation=installation, region=where)
        found = wiring.readiness(
            access.settings, asks_primary=not no_primary, imports_keys=import_keys, now=datetime.now(tz=UTC)
        )
    for line in _as_json(found) if as_json else _as_text(found, access.name):
        click.echo(line)
    if not found.is_ready:
        raise click.exceptions.Exit(1)


def _as_text(found: "Readiness", where: str) -> Iterator[str]:
    yield f"{where}: {len(found.instances)} instances and {len(found.volumes)} detached volumes looked at"
    for finding in found.findings:
        of = f" ({', '.join(finding.resources)})" if finding.resources else ""
        yield printable(f"{finding.severity}: {finding.what}{of}")
        yield printable(f"    {finding.remedy}")
    if found.fetched:
        yield printable(f"public keys kept here: {', '.join(found.fetched)}")
    if found.imported:
        yield printable(f"key pairs imported: {', '.join(found.imported)}")
    yield "ready" if found.is_ready else "not ready"


def _as_json(found: "Readiness") -> Iterator[str]:
    for finding in found.findings:
        yield json.dumps(
            {
                "record": "finding",
                "severity": finding.severity.value,
                "what": finding.what,
                "resources": list(finding.resources),
                "remedy": finding.remedy,
            },
            ensure_ascii=False,
        )
    yield json.dumps(
        {
            "record": "summary",
            "is_ready": found.is_ready,
            "instances": list(found.instances),
            "volumes": list(found.volumes),
            "fetched": list(found.fetched),
            "imported": list(found.imported),
        },
        ensure_ascii=False,
    )
