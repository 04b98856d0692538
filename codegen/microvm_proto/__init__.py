"""A generator that turns one schema into the Python and C code of a small typed protocol.

The steps are `load → resolve → lint → digest → generate`, and each step has a module of that name.
The steps exchange the frozen classes of :mod:`microvm_proto.schema`, which hold every size and
offset. `released` saves the released form of a schema, and `breaking` compares a schema with it.
"""
