"""The errors a user can meet; each message is one line and names the mend."""


class SynthlabError(Exception):
    """Base of every error that a user's input or environment can cause."""


class GrammarError(SynthlabError):
    """A grammar or operator declaration that cannot work."""


class ProgramSyntaxError(SynthlabError):
    """Program text that the grammar does not derive.

    Attributes
    ----------
    position : int
        Zero-based offset of the first offending character.
    expected : str
        What the grammar allows there.
    """

    def __init__(self, position: int, expected: str, found: str) -> None:
        super().__init__(f"position {position}: expected {expected}, found {found}")
        self.position = position
        self.expected = expected


class BudgetExceeded(SynthlabError):
    """Work refused before it starts, because its estimate exceeds what was allowed."""


class ArtifactError(SynthlabError):
    """A stored artifact that is missing, damaged or made by another configuration."""


class InUseError(ArtifactError):
    """A folder that another process works in.

    Attributes
    ----------
    here : bool
        Whether that process runs on this machine, and so is known to be alive.
    """

    def __init__(self, message: str, *, here: bool) -> None:
        super().__init__(message)
        self.here = here


class SplitError(SynthlabError):
    """A split that cannot be drawn, or that leaks."""


class ConfigurationError(SynthlabError, ValueError):
    """A setting outside its range, or settings that contradict each other."""
