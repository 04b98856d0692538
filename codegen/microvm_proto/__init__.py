"""A generator that turns a schema into the Python and C code of a small typed protocol.

The generator works in the steps `load → resolve → lint → digest → generate`, and each step has a
module of that name. The steps pass on the frozen classes of :mod:`microvm_proto.schema`, which hold
every size and offset. `released` saves a copy of a schema when it is released, its released form,
and `breaking` compares later versions of the schema with that copy.
"""
