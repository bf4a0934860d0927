"""Whether the twin's cost grows with what is asked for: seconds per described volume, 10,000 against 1,000."""

from time import perf_counter

from local.inprocess import PRIMARY
from local.twin.testing import Twin

PAGE = 1_000


def measure_describe(volumes: int) -> float:
    """Seconds per volume to describe this many, paged by 1,000; the best of three."""
    with Twin() as twin:
        ec2 = twin.client("ec2", PRIMARY)
        backend = twin.backend(PRIMARY)
        for number in range(volumes):
            volume = backend.create_volume(size=1, zone_name=f"{PRIMARY}a")
            backend.create_tags([volume.id], {"Number": str(number)})
        taken = []
        for _ in range(3):
            start = perf_counter()
            pages = ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": PAGE})
            found = sum(len(page["Volumes"]) for page in pages)
            taken.append(perf_counter() - start)
            if found != volumes:
                raise RuntimeError(f"{found} volumes were described, {volumes} are there")
        return min(taken) / volumes
