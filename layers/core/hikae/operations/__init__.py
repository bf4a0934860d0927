"""One verb per module: observe, ask the domain, act, return an outcome."""
