"""MaxResults and NextToken of the describes.

EC2 API Reference, "Pagination": a page may hold fewer items than MaxResults although more follow, so only the absence
of NextToken means the end. The twin makes every third page short, so that whoever counts items notices.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from local.twin.errors import refuse

T = TypeVar("T")
KEPT_LISTINGS = 256


@dataclass(slots=True)
class Pager:
    """The listings of one account and Region that are being read page by page.

    A listing is selected once, with its first page, so that reading all pages costs what selecting once costs.
    """

    _listings: OrderedDict[str, Sequence[Any]] = field(default_factory=OrderedDict)
    _number: int = 0

    def page(
        self,
        items: Iterable[T],
        *,
        max_results: int | None,
        next_token: str | None,
        minimum: int = 5,
        maximum: int = 1000,
        default: int | None = None,
    ) -> tuple[list[T], str | None]:
        """One page and the token for the next; everything at once without `max_results` and `default`.

        `items` is only walked through for a first page. Raises InvalidParameterValue for a MaxResults below `minimum`;
        more than `maximum` is taken as `maximum`. Raises InvalidPaginationToken for an unknown token.
        """
        if max_results is not None and max_results < minimum:
            raise refuse(
                "InvalidParameterValue",
                f"Value ( {max_results} ) for parameter maxResults is invalid. Expecting at least {minimum}.",
            )
        size = default if max_results is None else min(max_results, maximum)
        name, listing, start = self._resume(next_token) if next_token else ("", list(items), 0)
        if size is None or len(listing) - start <= size:
            return list(listing[start:]), None
        if not name:
            name = self._keep(listing)
        end = start + self._shorten(size, page=start // size)
        return list(listing[start:end]), f"{name}:{end}"

    @staticmethod
    def _shorten(size: int, *, page: int) -> int:
        return size - max(1, size // 10) if page % 3 == 1 and size > 1 else size

    def _keep(self, listing: Sequence[Any]) -> str:
        self._number += 1
        name = f"page-{self._number}"
        self._listings[name] = listing
        while len(self._listings) > KEPT_LISTINGS:
            self._listings.popitem(last=False)
        return name

    def _resume(self, token: str) -> tuple[str, Sequence[Any], int]:
        name, _, position = token.partition(":")
        if name not in self._listings or not position.isdigit():
            raise refuse("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
        return name, self._listings[name], int(position)
