"""Restore and drill, step by step: each step is called by name, is idempotent, and says what comes next."""
