"""Guests that are started and saved: boots and clones, templates, snapshots and checkpoints."""
