"""Our own failures. What a peer does wrong is a value (a `Reply`, a `DeliveryResult`), never one of these."""


class PymtaError(Exception):
    """A failure of ours, with a text for the log; the text never goes to a peer."""


class ConfigError(PymtaError):
    """main.cf, master.cf or a setting from code cannot be used: start-up stops.

    `where` is `FILE:LINE` or the name of what set the value; `name` is the parameter, service or
    restriction; the text says what was found and what was expected.
    """

    def __init__(self, message: str, *, where: str | None = None, name: str | None = None) -> None:
        self.message = message
        self.where = where
        self.name = name
        parts = [part for part in (where, name) if part]
        super().__init__(": ".join([*parts, message]))


class TableError(PymtaError):
    """A lookup has no answer now: neither found nor not found. The caller answers 4xx or defers."""

    def __init__(self, table: str, message: str) -> None:
        self.table = table
        self.message = message
        super().__init__(f"{table}: {message}")


class ResolveError(PymtaError):
    """An address cannot be resolved to a route now (a map or DNS cannot be asked). Temporary."""


class SpoolError(PymtaError):
    """The queue cannot store or find what it must; intake answers 451."""


class SpoolLockedError(SpoolError):
    """Another process holds this spool; the text names it."""


class DeliveryError(PymtaError):
    """A delivery agent failed in a way that it did not foresee. The recipients are deferred."""


class ProtocolUseError(PymtaError):
    """A caller drove a sans-IO engine against its contract. Always a bug of ours, never of a peer."""


class AuthUnavailableError(PymtaError):
    """Whether somebody is who he says cannot be known now: a password database does not answer. Temporary."""
