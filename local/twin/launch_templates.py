"""Launch templates: moto's, but for the pages of their describes, which moto cuts off without a token for the rest.

botocore, DescribeLaunchTemplatesRequest and DescribeLaunchTemplateVersionsRequest: MaxResults is 1 to 200.
"""

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult

from local.twin.sharing import SharingResponse

_ALL = 1_000_000
_MOST = 200


class LaunchTemplatesResponse(SharingResponse):
    """DescribeLaunchTemplates and DescribeLaunchTemplateVersions, page by page."""

    def describe_launch_templates(self) -> ActionResult:
        return self._page_of("LaunchTemplates", super().describe_launch_templates)

    def describe_launch_template_versions(self) -> ActionResult:
        return self._page_of("LaunchTemplateVersions", super().describe_launch_template_versions)

    def _page_of(self, key: str, describe: Callable[[], ActionResult]) -> ActionResult:
        asked = self.params
        self.params = {**asked, "MaxResults": _ALL}
        try:
            everything: Any = describe().result
        finally:
            self.params = asked
        items, token = self.backend.pager.page(
            everything[key],
            max_results=self._get_int_param("MaxResults"),
            next_token=self._get_param("NextToken"),
            minimum=1,
            maximum=_MOST,
            default=_MOST,
        )
        return ActionResult({key: items, "NextToken": token})
