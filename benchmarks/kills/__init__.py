"""Kills and full disks: what docs/reliability.md says was tried."""
