"""Elastic IP addresses: whose an address is, whichever way it was associated, and with which private address.

EC2 API Reference, Address: InstanceId, "the ID of the instance that the address is associated with (if any)". moto
names the instance only where the address was associated by it, not by its network interface. AssociateAddress,
PrivateIpAddress: "The primary or secondary private IP address to associate with the Elastic IP address", the primary
one where none is specified; moto takes no notice of it.
"""

from typing import Any

from moto.core.responses import ActionResult

from local.twin.errors import refuse
from local.twin.sharing import SharingBackend, SharingResponse


class AddressesBackend(SharingBackend):
    """Elastic IP addresses."""

    def associate_address(self, instance: Any = None, eni: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Let an address that a network interface gets belong to the interface's instance."""
        address = super().associate_address(instance, eni, *args, **kwargs)
        if instance is None and eni is not None:
            address.instance = eni.instance
        return address


class AddressesResponse(SharingResponse):
    """AssociateAddress and DescribeAddresses."""

    def associate_address(self) -> ActionResult:
        interface, wanted = self._get_param("NetworkInterfaceId"), self._get_param("PrivateIpAddress")
        if interface and wanted:
            held = self.backend.get_network_interface(interface).private_ip_addresses
            if wanted not in {each["PrivateIpAddress"] for each in held}:
                # No page says what EC2 answers; it cannot associate what is not there.
                raise refuse("InvalidParameterValue", f"{wanted} is not an address of {interface}")
        answer = super().associate_address()
        made: Any = answer.result
        for address in self.backend.addresses:
            if address.association_id == made["AssociationId"]:
                address.associated_with = wanted
        return answer

    def describe_addresses(self) -> ActionResult:
        answer: Any = super().describe_addresses().result
        return ActionResult({"Addresses": [_Associated(each) for each in answer["Addresses"]]})


class _Associated:
    """An address as moto has it, with the private address that it was associated with."""

    def __init__(self, address: Any) -> None:
        self._address = address

    @property
    def private_ip_address(self) -> str | None:
        own = getattr(self._address, "associated_with", None) if self._address.association_id else None
        found: str | None = own or self._address.private_ip_address
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._address, name)
