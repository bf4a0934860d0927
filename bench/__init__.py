"""What hikae costs: `make bench` measures it in one run and writes docs/benchmarks.md."""
