"""The error of a tool call that the server refuses."""


class Refusal(Exception):
    """A tool call cannot be executed. The message is for the model, and says what to do next.

    :ivar output: Output of the call before it failed, of any size.
    """

    def __init__(self, message: str, output: str = "") -> None:
        """Create the error."""
        super().__init__(message)
        self.output = output
