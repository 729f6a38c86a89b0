"""The error of a file reader that cannot read on."""


class InvalidFile(ValueError):
    """A file that is not a workout file we can read: a code for programs, the place, and what to do.

    Readers name the place inside the file (`where`, perhaps empty); the catalogue puts the file's name before it.
    str() is a sentence that may be shown to the person who uploaded the file.
    """

    def __init__(self, code: str, where: str, hint: str) -> None:
        super().__init__(f"{where}: {hint}" if where else hint)
        self.code = code
        self.where = where
        self.hint = hint

    def inside(self, file: str) -> "InvalidFile":
        """The same problem, with the name of the file that it is in."""
        return InvalidFile(self.code, f"{file}, {self.where}" if self.where else file, self.hint)
