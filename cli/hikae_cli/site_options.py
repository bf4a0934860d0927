"""The options by which a command is told which site it is about."""

import os
import re

import click

from hikae.domain.model import Region, SiteRole
from hikae.domain.plan_grammar import REGION

_INSTALLATION = re.compile(r"[a-z0-9-]{1,16}")


def _check_installation(_: click.Context, __: click.Parameter, value: str) -> str:
    if not _INSTALLATION.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an installation; 1 to 16 small letters, digits and hyphens")
    return value


installation_option = click.option(
    "--installation",
    default="main",
    show_default=True,
    envvar="HIKAE_INSTALLATION",
    show_envvar=True,
    callback=_check_installation,
    help="The stacks' Installation.",
)


def find_region(role: SiteRole, given: str | None) -> Region:
    """The Region of a site: the one that is given, or that of the environment.

    Raises:
        click.UsageError: nobody says which, or it is none.
    """
    variable = f"HIKAE_{role.name}_REGION"
    region = given or os.environ.get(variable)
    if not region:
        raise click.UsageError(f"the Region of the {role} site is not known; set {variable} or give --region")
    if not REGION.fullmatch(region):
        raise click.UsageError(f"{region!r} is not a Region's code, such as us-east-1")
    return Region(region)
