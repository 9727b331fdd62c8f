"""What comes out of `yolo export`, run by its own runtime: `python -m benchmarks.exports`, for docs/exports.md."""
