"""EC2's errors that moto lacks. Codes: EC2 API Reference, "Error codes for the Amazon EC2 API"."""

from moto.ec2.exceptions import EC2ClientError


def refuse(code: str, message: str) -> EC2ClientError:
    """An error of EC2's, to be raised: `raise refuse("IncorrectState", "...")`."""
    return EC2ClientError(code, message)


def unknown_filter(name: str) -> EC2ClientError:
    return refuse("InvalidParameterValue", f"The filter '{name}' is invalid")


def unknown_snapshot(snapshot_id: str) -> EC2ClientError:
    return refuse("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def unknown_volume(volume_id: str) -> EC2ClientError:
    return refuse("InvalidVolume.NotFound", f"The volume '{volume_id}' does not exist.")
