"""Backup and disaster recovery for Amazon EC2."""
