"""What R2H costs, measured side by side: `python -m benchmarks --help`."""
