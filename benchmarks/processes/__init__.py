"""Trainings in several processes: what docs/many_machines.md says was run."""
