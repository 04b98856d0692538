"""The error of a tool call that the server refuses."""


class Refusal(Exception):
    """A tool call cannot be executed. The message is for the model, and says what to do next."""
