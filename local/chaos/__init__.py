"""The fault suite: every operation under every fault, compared with a run that met none."""
