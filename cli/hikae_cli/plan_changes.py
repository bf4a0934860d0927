"""What applying plans to a site would change, worked out before anything is written."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from difflib import unified_diff

from hikae.domain.model import Place, SiteRole
from hikae.domain.naming import bucket_name
from hikae_cli.plan_files import PlanFile

PLANS = "plans/"
SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One site of an installation."""

    installation: str
    role: SiteRole
    place: Place

    @property
    def bucket(self) -> str:
        """The site's bucket."""
        return bucket_name(installation=self.installation, site=self.role.value, place=self.place)

    def __str__(self) -> str:
        """As messages name it: with what one needs to find it."""
        return f"bucket {self.bucket} (account {self.place.account}, Region {self.place.region})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a site has under a key: its content, S3's name for exactly this content, and since when it is there."""

    content: bytes
    etag: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One plan at one site: what is there (None: nothing), and what the file has."""

    site: Site
    file: PlanFile
    there: Stored | None

    @property
    def key(self) -> str:
        """Where the site keeps the plan."""
        return plan_key(self.file.plan.name)

    @property
    def kind(self) -> str:
        """`new`, `changed` or `unchanged`."""
        if self.there is None:
            return "new"
        return "unchanged" if self.there.content == self.file.content else "changed"

    @property
    def diff(self) -> list[str]:
        """A changed plan as the lines of a unified diff."""
        if self.there is None:
            return []
        place = f"s3://{self.site.bucket}/{self.key}"
        return difference(self.there.content, self.file.content, old_name=place, new_name=self.file.name)


def plan_key(name: str) -> str:
    """Where a site keeps the plan of this name."""
    return f"{PLANS}{name}{SUFFIX}"


def difference(old: bytes, new: bytes, *, old_name: str, new_name: str) -> list[str]:
    """Two contents as the lines of a unified diff; none where they are the same."""
    if old == new:
        return []
    before, after = (content.decode(errors="replace").splitlines() for content in (old, new))
    lines = unified_diff(before, after, fromfile=old_name, tofile=new_name, lineterm="")
    return list(lines) or ["only the ends of lines differ"]


def plan_changes(
    sites: Iterable[Site], files: Iterable[PlanFile], *, read: Callable[[Site, str], Stored | None]
) -> list[Change]:
    """Compare each file with what each site has; `read` gives the content of a key at a site, None where it is not."""
    there = [(site, file, Change(site=site, file=file, there=None).key) for site in sites for file in files]
    return [Change(site=site, file=file, there=read(site, key)) for site, file, key in there]


def warn_of_copies_elsewhere(files: Iterable[PlanFile], *, recovery_region: str) -> list[str]:
    """A warning for each rule whose copies no site in `recovery_region` will take."""
    return [
        f"plan {file.plan.name}, rule {rule.name}: copies go to {copy.region}, "
        f"which is not the recovery Region {recovery_region}: the recovery site there will not take them"
        for file in files
        for rule in file.plan.rules
        for copy in rule.copies
        if copy.region != recovery_region
    ]
