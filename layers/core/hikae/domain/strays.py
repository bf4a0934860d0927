"""Which manifests describe nothing any more."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from hikae.domain.naming import ATTEMPT, POINT

STRAY_AFTER: Final = timedelta(hours=1)
"""A manifest is written before its point, and EC2 may not show the point for minutes: only an old one can be stray."""

_KEY = re.compile(r"manifests/(?:[^/]+/){3}(rp-[0-9a-f]{32})/([0-9]+)\.json")
"""As `naming.manifest_key` writes it; what is named otherwise is somebody else's."""


def stray_manifests(
    written: Mapping[str, datetime], *, resources: Iterable[Mapping[str, str]], now: datetime
) -> list[str]:
    """The keys of the manifests, by when they were written, of whose set not one snapshot or image is left.

    A run that was cut short between a set and its manifest leaves one; a set that was never started after all, too.
    `resources` are the tags of everything that is there, also of what cannot be accounted for.
    """
    there = {(tags.get(POINT), tags.get(ATTEMPT)) for tags in resources}
    sets = {key: found.groups() for key in written if (found := _KEY.fullmatch(key))}
    return sorted(key for key, each in sets.items() if each not in there and now - written[key] > STRAY_AFTER)
