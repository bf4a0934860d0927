"""The local cloud: ministack for everything but EC2, the twin for EC2, both on loopback."""

from local.cloud.launcher import CloudError, LocalCloud

__all__ = ["CloudError", "LocalCloud"]
