"""Every destination of a rule is pulled by its own recovery site, under its own key and retention, whatever the Region.

A source is read through the key that it is encrypted with; where that cannot be used, the copy fails later, and says
so.
"""

from typing import Any

import pytest

from hikae.domain.model import Region, SiteRole
from hikae.runtime.settings import Settings
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of

IRELAND = Region("eu-west-1")


def plan_with(copies: dict[str, int], *, keep: int = 3) -> str:
    """The plan with these destinations, each with how many it keeps."""
    written = ", ".join(f"{{region: {region}, retention: {{keep_last: {count}}}}}" for region, count in copies.items())
    [before] = [line for line in SNAPSHOT_PLAN.splitlines() if "copies:" in line]
    plan = SNAPSHOT_PLAN.replace("{keep_last: 3}", f"{{keep_last: {keep}}}")
    return plan.replace(before, f"    copies: [{written}]")


def copies_of(installation: Installation, site: Settings) -> list[dict[str, Any]]:
    return [each for each in installation.snapshots(site.place.region) if "hikae:copy-of" in tags_of(each)]


def points_at(installation: Installation, site: Settings) -> set[str]:
    return {tags_of(each)["hikae:point"] for each in copies_of(installation, site)}


def back_up_and_copy(installation: Installation, *sites: Settings, hours: int = 1) -> None:
    for _ in range(hours):
        installation.back_up()
        for site in sites:
            installation.copy_all(site)
        installation.advance(minutes=60 - installation.twin.clock.now().minute)


def test_each_destination_gets_its_own_copies_and_keeps_its_own_number(installation: Installation) -> None:
    west, ireland = installation.recovery, installation.add_recovery_site(IRELAND)
    installation.launch()
    plan = plan_with({RECOVERY: 3, IRELAND: 1})
    installation.apply("production", plan, [SiteRole.PRIMARY, west, ireland])
    back_up_and_copy(installation, west, ireland, hours=4)
    for site, copied, kept in ((west, 4, 3), (ireland, 4, 1)):
        assert len(points_at(installation, site)) == copied
        assert {each["KmsKeyId"] for each in copies_of(installation, site)} == {site.copy_key_arn}
        installation.prune(site)
        assert len(points_at(installation, site)) == kept
        assert installation.prune(site).outcomes == ()
        before = installation.twin.count("CopySnapshot")
        installation.copy_all(site)
        assert installation.twin.count("CopySnapshot") == before


def test_a_source_waits_for_every_destination(installation: Installation) -> None:
    west, ireland = installation.recovery, installation.add_recovery_site(IRELAND)
    installation.launch()
    installation.apply("production", plan_with({RECOVERY: 3, IRELAND: 3}, keep=1), [SiteRole.PRIMARY, west, ireland])
    back_up_and_copy(installation, west, hours=3)
    for _ in range(2):
        pruned = installation.prune(SiteRole.PRIMARY)
        assert pruned.outcomes == ()
        reasons = [reason for verdict in pruned.verdicts for reason in verdict.reasons]
        assert reasons.count(f"its copy to {IRELAND} is wanted and not complete") == 2
        assert not any(RECOVERY in reason for reason in reasons)
    installation.copy_all(ireland)
    assert len(installation.prune(SiteRole.PRIMARY).outcomes) == 4
    assert installation.prune(SiteRole.PRIMARY).outcomes == ()


def test_a_recovery_site_in_the_same_region_copies_and_each_site_prunes_its_own(installation: Installation) -> None:
    here = installation.add_recovery_site(PRIMARY)
    installation.launch()
    installation.apply("production", plan_with({PRIMARY: 2}), [SiteRole.PRIMARY, here])
    back_up_and_copy(installation, here, hours=5)
    assert len(points_at(installation, here)) == 5
    assert {each["KmsKeyId"] for each in copies_of(installation, here)} == {here.copy_key_arn}
    sources = {each["SnapshotId"] for each in installation.snapshots() if "hikae:copy-of" not in tags_of(each)}

    by_primary = installation.prune(SiteRole.PRIMARY)
    assert {outcome.resource for outcome in by_primary.outcomes} < sources
    assert len(by_primary.outcomes) == 4
    assert len(points_at(installation, here)) == 5
    by_recovery = installation.prune(here)
    assert {outcome.resource for outcome in by_recovery.outcomes}.isdisjoint(sources)
    assert len(points_at(installation, here)) == 2

    assert installation.prune(SiteRole.PRIMARY).outcomes == installation.prune(here).outcomes == ()
    assert installation.tick().jobs_sent == 1  # the slot that has just begun; no copy passes for its point
    before = installation.twin.count("CopySnapshot")
    installation.copy_all(here)
    assert installation.twin.count("CopySnapshot") == before


# --- keys -------------------------------------------------------------------------------------------------------------


def make_key(installation: Installation) -> str:
    key: str = installation.twin.client("kms", PRIMARY).create_key()["KeyMetadata"]["Arn"]
    return key


def disable(installation: Installation, key: str, *, is_disabled: bool = True) -> None:
    kms = installation.twin.client("kms", PRIMARY)
    (kms.disable_key if is_disabled else kms.enable_key)(KeyId=key.rpartition("/")[2])


@pytest.mark.parametrize("encryption", ["a customer key", "the AWS-managed key", "none"])
def test_a_copy_is_under_the_destinations_key_however_its_source_is_encrypted(
    installation: Installation, encryption: str
) -> None:
    own = {"KmsKeyId": make_key(installation)} if encryption == "a customer key" else {}
    installation.detached_volume(Encrypted=encryption != "none", **own)
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    [source] = installation.snapshots()
    assert source["Encrypted"] == (encryption != "none")
    for _ in range(2):
        installation.copy_all()
        [copy] = installation.snapshots(RECOVERY)
        assert (copy["State"], copy["KmsKeyId"]) == ("completed", installation.key_arn)
    assert installation.twin.digest_of(copy["SnapshotId"]) == installation.twin.digest_of(source["SnapshotId"])


def test_a_source_whose_key_cannot_be_used_is_named_with_the_remedy_and_no_other_waits_for_it(
    installation: Installation,
) -> None:
    key = make_key(installation)
    locked, other = installation.detached_volume(Encrypted=True, KmsKeyId=key), installation.detached_volume()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    disable(installation, key)
    installation.copy()
    installation.advance(minutes=10)
    [source] = [each for each in installation.snapshots() if each["VolumeId"] == locked]
    for _ in range(2):
        [failure] = [outcome for outcome in installation.copy().outcomes if outcome.is_failure]
        assert failure.resource == source["SnapshotId"]
        assert "Given key ID is not accessible; give the recovery site the use of the key" in failure.reason
        assert "the next attempt is due at" in failure.reason
    states = {tags_of(each)["hikae:volume"]: each["State"] for each in installation.snapshots(RECOVERY)}
    assert states == {locked: "error", other: "completed"}

    disable(installation, key, is_disabled=False)
    installation.advance(minutes=10)
    installation.copy_all()
    by_attempt = {
        tags_of(each)["hikae:copy-attempt"]: each["State"]
        for each in installation.snapshots(RECOVERY)
        if tags_of(each)["hikae:volume"] == locked
    }
    assert by_attempt == {"1": "error", "2": "completed"}


def test_a_failed_copy_is_never_counted_and_is_cleaned_up_once_another_is_complete(installation: Installation) -> None:
    key = make_key(installation)
    installation.detached_volume(Encrypted=True, KmsKeyId=key)
    installation.apply("production", SNAPSHOT_PLAN.replace("{keep_last: 3}", "{keep_last: 1}"))
    installation.back_up()
    disable(installation, key)
    installation.copy()
    installation.advance(minutes=60 - installation.twin.clock.now().minute)
    installation.back_up()
    for _ in range(2):
        # At the source the older one stays, since its copy is wanted and a failed one is none.
        pruned = installation.prune(SiteRole.PRIMARY)
        assert pruned.outcomes == ()
        reasons = [reason for verdict in pruned.verdicts for reason in verdict.reasons]
        assert f"its copy to {RECOVERY} is wanted and not complete" in reasons
        assert installation.prune(SiteRole.RECOVERY).outcomes == ()
    disable(installation, key, is_disabled=False)
    installation.copy_all()
    [cleaned] = installation.prune(SiteRole.RECOVERY).outcomes
    assert (cleaned.status, "another copy took its place" in cleaned.reason) == ("deleted", True)
    assert {each["State"] for each in installation.snapshots(RECOVERY)} == {"completed"}
    assert len(points_at(installation, installation.recovery)) == 2
    assert [outcome.status for outcome in installation.prune(SiteRole.PRIMARY).outcomes] == ["deleted"]
    for site in SiteRole:
        assert installation.prune(site).outcomes == ()


def test_an_image_whose_snapshots_cannot_be_read_fails_whole_and_is_copied_again_whole(
    installation: Installation,
) -> None:
    key = make_key(installation)
    root = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": key}}
    installation.launch(tags={"Backup": "image"}, BlockDeviceMappings=[root])
    installation.apply(
        "web-images",
        SNAPSHOT_PLAN.replace("protect: snapshots", "protect: image")
        .replace("plan: production", "plan: web-images")
        .replace("[instance, volume]", "[instance]")
        .replace("Backup: production", "Backup: image"),
    )
    installation.back_up()
    disable(installation, key)
    installation.copy()
    installation.advance(minutes=10)
    for _ in range(2):
        [failure] = installation.copy().outcomes
        assert failure.is_failure
        assert "SourceKeyArns" in failure.reason
    disable(installation, key, is_disabled=False)
    installation.advance(minutes=10)
    installation.copy_all()
    states = sorted((image["State"], tags_of(image)["hikae:copy-attempt"]) for image in installation.images(RECOVERY))
    assert states == [("available", "2"), ("failed", "1")]
    installation.prune(SiteRole.RECOVERY)
    assert [image["State"] for image in installation.images(RECOVERY)] == ["available"]
    assert {each["State"] for each in installation.snapshots(RECOVERY)} == {"completed"}
    assert installation.prune(SiteRole.RECOVERY).outcomes == ()
