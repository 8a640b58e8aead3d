"""Settings of local(8) and virtual(8)."""

from __future__ import annotations

from pymta.delivery.mailbox_jobs import Locking
from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.tables import Maps


@frozen
class LocalSettings:
    """local(8). `biff` is accepted and means nothing: no comsat service is told about new mail."""

    myhostname: str
    mail_name: str
    recipient_delimiter: str
    propagate_unmatched_extensions: tuple[str, ...]
    owner_request_special: bool
    expand_owner_alias: bool
    reset_owner_alias: bool
    frozen_delivered_to: bool
    allow_mail_to_commands: tuple[str, ...]
    allow_mail_to_files: tuple[str, ...]
    default_privs: str
    forward_path: str
    forward_expansion_filter: str
    require_home_directory: bool
    home_mailbox: str
    mail_spool_directory: str
    mailbox_size_limit: int
    mailbox_delivery_lock: tuple[str, ...]
    deliver_lock_attempts: int
    deliver_lock_delay: float
    stale_lock_time: float
    strict_mailbox_ownership: bool
    prepend_delivered_header: tuple[str, ...]
    mailbox_command: str
    mailbox_transport: str
    fallback_transport: str
    luser_relay: str
    local_command_shell: str
    command_execution_directory: str
    execution_directory_expansion_filter: str
    command_expansion_filter: str
    command_time_limit: float
    export_environment: tuple[str, ...]
    biff: bool

    def locking(self) -> Locking:
        """Raises ConfigError where mailbox_delivery_lock names no known lock."""
        return locking(
            self.mailbox_delivery_lock, self.deliver_lock_attempts, self.deliver_lock_delay, self.stale_lock_time
        )


NO_MAPS = Maps(())


@frozen
class LocalTables:
    """alias_maps and the per-user tables of local(8)."""

    alias_maps: Maps = NO_MAPS
    mailbox_command_maps: Maps = NO_MAPS
    mailbox_transport_maps: Maps = NO_MAPS
    fallback_transport_maps: Maps = NO_MAPS


@frozen
class VirtualSettings:
    """virtual(8). `virtual_mailbox_limit` is in bytes, 0 means none."""

    recipient_delimiter: str
    virtual_mailbox_base: str
    virtual_mailbox_limit: int
    virtual_mailbox_lock: tuple[str, ...]
    virtual_minimum_uid: int
    deliver_lock_attempts: int
    deliver_lock_delay: float
    stale_lock_time: float
    strict_mailbox_ownership: bool

    def locking(self) -> Locking:
        """Raises ConfigError where virtual_mailbox_lock names no known lock."""
        return locking(
            self.virtual_mailbox_lock,
            self.deliver_lock_attempts,
            self.deliver_lock_delay,
            self.stale_lock_time,
            name="virtual_mailbox_lock",
        )


@frozen
class VirtualTables:
    """The tables of virtual(8)."""

    virtual_mailbox_maps: Maps
    virtual_uid_maps: Maps
    virtual_gid_maps: Maps


def locking(
    names: tuple[str, ...], attempts: int, delay: float, stale: float, name: str = "mailbox_delivery_lock"
) -> Locking:
    """Raises ConfigError."""
    if not names or set(names) - {"dotlock", "fcntl", "flock"}:
        raise ConfigError(f"expected one or more of fcntl, flock, dotlock, not {' '.join(names)!r}", name=name)
    return Locking("dotlock" in names, "fcntl" in names, "flock" in names, attempts, delay, stale)
