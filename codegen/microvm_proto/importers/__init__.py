"""The importers: what describes a protocol in another language, made into a schema of ours."""
