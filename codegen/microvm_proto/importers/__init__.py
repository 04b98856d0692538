"""Importers, which convert the definitions of another protocol, such as MAVLink, into a schema."""
