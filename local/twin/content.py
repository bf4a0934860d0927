"""What is on a disk: not the bytes themselves, but enough to tell whether the right ones came back."""

import hashlib
from dataclasses import dataclass, replace

BLANK = hashlib.sha256().hexdigest()


# EBS User Guide, "Use EBS direct APIs to access the contents of an EBS snapshot".
BLOCK_SIZE = 512 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A run of blocks that one write left: `digest` and the place within the run tell one block from another."""

    first: int
    count: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The state of a disk at one instant.

    `digest` depends on every write in order and on nothing else, so a volume restored from a copy of a snapshot has
    the digest that the source volume had. `size` is how many bytes are in use, `written` how many were ever changed on
    the volume named by `origin`: the difference of two `written` is what an incremental snapshot transfers. `extents`
    say where the writes lie, each behind the one before: later ones win where they overlap.
    """

    digest: str = BLANK
    size: int = 0
    written: int = 0
    origin: str = ""
    extents: tuple[Extent, ...] = ()

    def write(self, data: bytes, *, changed_bytes: int | None = None) -> "Content":
        """The content after writing `data`, which stands for `changed_bytes` bytes (its own length if not given)."""
        changed = len(data) if changed_bytes is None else changed_bytes
        digest = hashlib.sha256(bytes.fromhex(self.digest) + data).hexdigest()
        last = self.extents[-1] if self.extents else Extent(first=0, count=0, digest=BLANK)
        extent = Extent(first=last.first + last.count, count=-(-changed // BLOCK_SIZE), digest=digest)
        return replace(
            self,
            digest=digest,
            size=self.size + changed,
            written=self.written + changed,
            extents=(*self.extents, extent),
        )

    def blocks(self) -> dict[int, str]:
        """A mark for each block in use, equal where the bytes are."""
        return {
            extent.first + offset: f"{extent.digest}/{offset}" if extent.count > 1 else extent.digest
            for extent in self.extents
            for offset in range(extent.count)
        }

    def restore_to(self, origin: str) -> "Content":
        """The same bytes on a new volume, which starts an incremental chain of its own."""
        return replace(self, written=self.size, origin=origin)

    def changed_since(self, earlier: "Content | None") -> int:
        """How many bytes a snapshot of this content transfers when `earlier` is already there; all without one."""
        if earlier is None or earlier.origin != self.origin:
            return self.size
        return self.written - earlier.written
