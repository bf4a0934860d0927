"""Elastic IP addresses: whose an address is, whichever way it was associated.

EC2 API Reference, Address: InstanceId, "the ID of the instance that the address is associated with (if any)". moto
names the instance only where the address was associated by it, not by its network interface.
"""

from typing import Any

from local.twin.sharing import SharingBackend


class AddressesBackend(SharingBackend):
    """Elastic IP addresses."""

    def associate_address(self, instance: Any = None, eni: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Let an address that a network interface gets belong to the interface's instance."""
        address = super().associate_address(instance, eni, *args, **kwargs)
        if instance is None and eni is not None:
            address.instance = eni.instance
        return address
