"""Adapters that let frameworks for agents use machines as their sandboxes.

Each module needs the extra of its framework, and no other module imports it.
"""
