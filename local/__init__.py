"""The local cloud: one machine, no Docker, no AWS account."""
