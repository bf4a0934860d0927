"""Tags: their rules, found by resource without a search, and gone with their resource.

EC2 User Guide, "Tag your Amazon EC2 resources" (tag restrictions): 50 tags a resource, keys of at most 128 and values
of at most 256 characters, and `aws:` reserved.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import InvalidParameterValueErrorTagNull, TagLimitExceeded
from moto.ec2.models import validate_resource_ids
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from local.twin.core import CoreBackend, CoreResponse
from local.twin.errors import refuse
from local.twin.matching import Filters, select
from local.twin.paging import Pager

MAX_TAGS = 50
MAX_KEY = 128
MAX_VALUE = 256

Tags = Mapping[str, str]


def check_tags(tags: Mapping[str, str | None]) -> None:
    """Refuse tags that no resource may carry."""
    for key, value in tags.items():
        if value is None:
            raise InvalidParameterValueErrorTagNull
        if key.lower().startswith("aws:"):
            raise refuse("InvalidParameterValue", f"Tag keys starting with 'aws:' are reserved for internal use: {key}")
        if not 1 <= len(key) <= MAX_KEY:
            raise refuse("InvalidParameterValue", f"Tag key exceeds the maximum length of {MAX_KEY} characters")
        if len(value) > MAX_VALUE:
            raise refuse("InvalidParameterValue", f"Tag value exceeds the maximum length of {MAX_VALUE} characters")
    if len(tags) > MAX_TAGS:
        raise TagLimitExceeded


def print_tags(tags: Tags) -> list[dict[str, str]]:
    """Tags as answers carry them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


_READERS = {
    "key": lambda tag: tag["key"],
    "resource-id": lambda tag: tag["resource_id"],
    "resource-type": lambda tag: tag["resource_type"],
    "value": lambda tag: tag["value"],
}


class TagsBackend(CoreBackend):
    """Tags of one account in one Region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.pager = Pager()
        super().__init__(region_name, account_id)

    def tags_of(self, resource_id: str) -> Tags:
        """The resource's tags by key; do not change them."""
        return self.tags.get(resource_id) or self.sightings.tags_of(resource_id)

    def create_tags(self, resource_ids: list[str], tags: dict[str, str]) -> bool:
        """Add tags to every resource or, if one of them would have too many, to none."""
        if None in tags.values():
            raise InvalidParameterValueErrorTagNull
        for resource_id in resource_ids:
            names = {key for key in {**self.tags_of(resource_id), **tags} if not key.startswith("aws:")}
            if len(names) > MAX_TAGS:
                raise TagLimitExceeded
        for resource_id in resource_ids:
            self.sightings.retag(resource_id, former=self.tags_of(resource_id))
            self.tags[resource_id].update(tags)
        return True

    def delete_tags(self, resource_ids: list[str], tags: Mapping[str, str | None]) -> bool:
        """Remove tags: all of a resource's without `tags`, whatever the value where it is None."""
        for resource_id in resource_ids:
            found = self.tags.get(resource_id, {})
            self.sightings.retag(resource_id, former=found)
            if not tags:
                found.clear()
            for key, value in tags.items():
                if key in found and value in (None, found[key]):
                    del found[key]
        return True

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        """What the Resource Groups Tagging API is told, which lags behind as describes do.

        Resource Groups Tagging API Reference, GetResources: "eventually consistent" like the services it asks.
        """
        for resource in super().iter_tagged_resources():
            resource_id = resource.arn.rpartition("/")[2]
            if not self.sightings.is_hidden(resource_id):
                yield replace(resource, tags=dict(self.sightings.told_tags(resource_id, resource.tags)))
        for gone in self.sightings.lingering(object):
            kind = _type_of(gone.id)
            yield TaggedResource(
                arn=f"arn:aws:ec2:{self.region_name}:{self.account_id}:{kind}/{gone.id}",
                tags=dict(self.sightings.tags_of(gone.id)),
                resource_type=f"ec2:{kind}",
            )

    def forget_tags(self, resource_id: str) -> None:
        """The resource is gone, and its tags with it."""
        self.tags.pop(resource_id, None)

    def describe_tags(self, filters: Filters | None = None) -> list[dict[str, str]]:
        """Tags in moto's spelling; one resource's are found without looking at any other's."""
        filters = filters or {}
        wanted = filters.get("resource-id", [])
        if wanted and not any(set(value) & set("*?\\") for value in wanted):
            pairs: Iterable[tuple[str, Tags]] = [(each, self.tags_of(each)) for each in dict.fromkeys(wanted)]
        else:
            pairs = list(self.tags.items())
        found = (
            {"resource_id": resource_id, "key": key, "value": value, "resource_type": _type_of(resource_id)}
            for resource_id, tags in pairs
            for key, value in tags.items()
        )
        return list(select(found, filters, readers=_READERS, tags=lambda tag: {tag["key"]: tag["value"]}))


def _type_of(resource_id: str) -> str:
    return EC2_PREFIX_TO_RESOURCE.get(get_prefix(resource_id), "")


class TagsResponse(CoreResponse):
    """CreateTags, DeleteTags, DescribeTags, and TagSpecifications of every creating call."""

    def create_tags(self) -> ActionResult:
        resource_ids = self._resources()
        tags = {tag["Key"]: tag.get("Value", "") for tag in self._get_param("Tags", [])}
        check_tags(tags)
        self.backend.create_tags(resource_ids, tags)
        return EmptyResult()

    def delete_tags(self) -> ActionResult:
        tags = {tag["Key"]: tag.get("Value") for tag in self._get_param("Tags", [])}
        self.backend.delete_tags(self._resources(), tags)
        return EmptyResult()

    def describe_tags(self) -> ActionResult:
        tags, token = self.page(lambda: self.backend.describe_tags(filters=self.filters()))
        return ActionResult({"Tags": tags, "NextToken": token})

    def _resources(self) -> list[str]:
        resource_ids: list[str] = self._get_param("Resources", [])
        validate_resource_ids(resource_ids)
        self.backend.do_resources_exist(resource_ids)
        return resource_ids

    def tag_specifications(self, *allowed: str) -> dict[str, dict[str, str]]:
        """The tags of each resource type that the request asks for, checked; refused for a type not `allowed`."""
        found: dict[str, dict[str, str]] = {each: {} for each in allowed}
        for specification in self._get_param("TagSpecifications", []) or self._get_param("TagSpecification", []):
            kind = specification.get("ResourceType")
            if kind not in found:
                raise refuse(
                    "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation."
                )
            tags = {tag["Key"]: tag.get("Value", "") for tag in specification.get("Tags", [])}
            if not tags:
                raise refuse("InvalidParameterValue", "Tag specification must have at least one tag")
            check_tags(tags)
            found[kind].update(tags)
        for tags in found.values():
            check_tags(tags)
        return found

    def filters(self) -> dict[str, list[str]]:
        """The request's filters by name; the values of one that is named twice are those of both."""
        found: dict[str, list[str]] = {}
        for each in self._get_param("Filters", []) or self._get_param("Filter", []):
            if not each.get("Name"):
                raise refuse("InvalidParameterValue", "The filter 'null' is invalid")
            found.setdefault(each["Name"], []).extend(each.get("Values", []))
        return found

    def page(
        self, select_items: Any, *, ids: Iterable[str] = (), default: int | None = None
    ) -> tuple[list[Any], str | None]:
        """One page of what `select_items()` gives; MaxResults together with ids is refused.

        botocore, e.g. DescribeInstancesRequest$MaxResults: "You cannot specify this parameter and the instance IDs
        parameter in the same request."
        """
        max_results = self._get_param("MaxResults")
        token = self._get_param("NextToken")
        if ids and max_results is not None:
            raise refuse(
                "InvalidParameterCombination", "The parameter resource ids cannot be used with the parameter maxResults"
            )
        items = [] if token else select_items()
        page: tuple[list[Any], str | None] = self.backend.pager.page(
            items, max_results=max_results, next_token=token, default=default
        )
        return page
