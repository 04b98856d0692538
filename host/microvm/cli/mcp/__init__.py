"""A server of the Model Context Protocol (MCP), which gives machines to the model of a client."""
