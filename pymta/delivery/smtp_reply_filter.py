"""smtp_reply_filter and lmtp_reply_filter: lines of servers' replies that are replaced before they are read."""

from __future__ import annotations

from collections.abc import Callable

from pymta.errors import ConfigError, TableError
from pymta.ports import Log
from pymta.tables import TableFactory
from pymta.tables.kinds import LocalTable

ReplyFilter = Callable[[str, str], str]
"""From the name of a server, for the log, and a line of its reply, to what is read in place of the line."""


def reply_filter(spec: str, tables: TableFactory, log: Log, name: str) -> ReplyFilter | None:
    """The filter that the parameter `name` names by `spec`, None where that is empty.

    Replies are read as they come, so the table has to be one that answers without waiting (`regexp:`, `pcre:`,
    a file). Raises ConfigError.
    """
    if not spec:
        return None
    table = tables.open(spec)
    if not isinstance(table, LocalTable):
        raise ConfigError(f'found "{spec}", expected a table that answers at once, such as pcre: or regexp:', name=name)

    def replaced(server: str, line: str) -> str:
        try:
            better = table.find(line)
        except TableError as error:
            log.warning(f'{server}: {spec}: table lookup error for "{line[:100]}": {error.message}')
            return line
        if better is None:
            return line
        log.info(f'{server}: replacing server reply "{line[:100]}" with "{better[:100]}"')
        return better

    return replaced
