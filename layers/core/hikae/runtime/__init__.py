"""Settings, observability, locks and wiring."""
