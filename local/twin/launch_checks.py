"""What RunInstances refuses about the instance type, the image's machine and the key pair.

Sources: EC2 API Reference, "Error codes" (InvalidParameterValue, InvalidKeyPair.NotFound); EC2 User Guide,
"Compatibility for changing the instance type" (architecture, virtualization type, enhanced networking). What a type
supports is botocore's InstanceTypeInfo, as moto carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES as _TYPES

from local.twin.errors import refuse
from local.twin.image_record import Image

INSTANCE_TYPES: Mapping[str, Mapping[str, Any]] = {
    each["InstanceType"]: each for each in (_TYPES.values() if isinstance(_TYPES, dict) else _TYPES)
}
DEFAULT_TYPE = "m1.small"


def check_instance_type(instance_type: str) -> None:
    """Refuse a type that there is not."""
    if instance_type not in INSTANCE_TYPES:
        raise refuse("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")


def check_machine(instance_type: str, image: Image) -> None:
    """Refuse an image that the type cannot run: another architecture, another virtualization, or no ENA."""
    check_instance_type(instance_type)
    described = INSTANCE_TYPES[instance_type]
    architectures = described["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture not in architectures:
        raise refuse(
            "InvalidParameterValue",
            f"The architecture '{','.join(architectures)}' of the specified instance type does not match the"
            f" architecture '{image.architecture}' of the specified AMI.",
        )
    if image.virtualization_type not in described["SupportedVirtualizationTypes"]:
        raise refuse(
            "InvalidParameterCombination",
            f"Virtualization type '{image.virtualization_type}' is not supported for instances of type"
            f" '{instance_type}'.",
        )
    if described["NetworkInfo"].get("EnaSupport") == "required" and not image.ena_support:
        raise refuse(
            "InvalidParameterCombination",
            f"Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{instance_type}'"
            " instance type.",
        )
