"""Times as they are given to a command that looks ahead for a plan."""

from datetime import UTC, datetime

import click

from hikae.domain.plan import Plan

_FIRST_YEAR, _LAST_YEAR = 1970, 2199


def read_time(plan: Plan, option: str, text: str) -> datetime:
    """RFC 3339, or a date or a time without an offset, which is then the plan's local one.

    Raises:
        click.BadParameter: it is none of these, or is too far away.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - refused below
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        message = (
            f"{text!r} is not a time from {_FIRST_YEAR} to {_LAST_YEAR}, such as 2026-03-08 or 2026-03-08T12:00:00Z"
        )
        raise click.BadParameter(message, param_hint=option)
    return (moment if moment.tzinfo else moment.replace(tzinfo=plan.timezone)).astimezone(UTC)
