"""Whether the twin's cost grows with what is asked for: seconds per described volume, 10,000 against 1,000."""

import gc
import subprocess
import sys
from pathlib import Path
from time import process_time

from local.inprocess import PRIMARY
from local.twin.testing import Twin

PAGE = 1_000


RUNS = 5


def measure_growth(few: int, many: int) -> float:
    """Cost per volume of describing `many`, against `few`; each in a process of its own, so that neither is in the
    other's way.
    """
    return _in_process_of_its_own(many) / _in_process_of_its_own(few)


def _in_process_of_its_own(volumes: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "bench.twin", str(volumes)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(f"describing {volumes} volumes failed:\n{done.stderr}")
    return float(done.stdout)


def measure_describe(volumes: int) -> float:
    """CPU seconds per volume to describe this many, paged by 1,000; the best of five."""
    with Twin() as twin:
        ec2 = twin.client("ec2", PRIMARY)
        backend = twin.backend(PRIMARY)
        for number in range(volumes):
            volume = backend.create_volume(size=1, zone_name=f"{PRIMARY}a")
            backend.create_tags([volume.id], {"Number": str(number)})
        # What is there already is not to be walked through by every collection: that is Python's cost, not the twin's.
        gc.collect()
        gc.freeze()
        taken = []
        for _ in range(RUNS):
            start = process_time()
            pages = ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": PAGE})
            found = sum(len(page["Volumes"]) for page in pages)
            taken.append(process_time() - start)
            if found != volumes:
                raise RuntimeError(f"{found} volumes were described, {volumes} are there")
        gc.unfreeze()
        return min(taken) / volumes


if __name__ == "__main__":
    sys.stdout.write(str(measure_describe(int(sys.argv[1]))))
