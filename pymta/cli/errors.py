"""What a command learns of the running program."""


class DaemonDown(Exception):
    """Nothing answers on the control socket."""


class CommandFailed(Exception):
    """The running program refused the command; the text is for the user."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        self.temporary = temporary
        super().__init__(message)
