"""Speed of the zoo and of its peers: `python -m benchmarks.speed`, for docs/speed.md and the README."""
