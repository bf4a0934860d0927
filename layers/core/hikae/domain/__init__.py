"""Pure decisions: no AWS, no clock, no I/O."""
