"""Importers, which convert the definitions of another protocol into a schema."""
