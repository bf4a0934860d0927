"""The `hikae` command."""
