"""Who delivers with whose rights: the root helper where we start as root, our own threads elsewhere."""

from __future__ import annotations

import os
import pwd
from typing import NoReturn

from pymta.app.agents import pipe_service
from pymta.config import Config
from pymta.delivery.mailbox_helper import HelperActions
from pymta.delivery.mailbox_jobs import (
    Answered,
    CommandExit,
    CommandJob,
    FileText,
    Identity,
    MaildirJob,
    MboxJob,
    ReadJob,
    Stored,
    UserActions,
)
from pymta.delivery.mailbox_threads import ThreadedActions
from pymta.delivery.mailbox_worker import JobServer, KeeperRules
from pymta.errors import DeliveryError
from pymta.ports import Content
from pymta.runtime.privileged import PrivilegedHelper


def open_actions(config: Config) -> UserActions:
    """As root, fork the helper (before threads, and before root is given up); else act as ourselves."""
    if os.geteuid() != 0:
        return ThreadedActions()
    home = pwd.getpwuid(0).pw_dir
    mailbox = config.text("home_mailbox")
    rules = KeeperRules(
        spool_directory=config.text("mail_spool_directory"),
        root_home=home,
        root_mailbox=f"{home}/{mailbox}" if mailbox else "",
    )
    chroots = {
        pipe_service(service, config.for_service(service)).chroot
        for service in config.services
        if service.command == "pipe"
    }
    return HelperActions(PrivilegedHelper.start(JobServer(rules), chroots=tuple(chroots - {""})))


def close_actions(actions: UserActions) -> None:
    """In the process that opened them, at the very end."""
    if isinstance(actions, HelperActions):
        actions.close()


def leave_actions(actions: UserActions) -> None:
    """In a process that shall not act for users: what it inherited of the root helper is closed."""
    if isinstance(actions, HelperActions):
        actions.helper.leave()


def take_over_actions(actions: UserActions) -> None:
    """In the successor of a process that acted for users: what was under way with the root helper is not ours."""
    if isinstance(actions, HelperActions):
        actions.helper.take_over()


class NoActions:
    """For a look at a configuration: nothing is delivered."""

    async def store(self, identity: Identity, job: MboxJob | MaildirJob, content: Content) -> Stored:
        _refuse()

    def begin_store(self, identity: Identity, job: MaildirJob, data: bytes, answered: Answered) -> None:
        _refuse()

    async def run(self, identity: Identity, job: CommandJob, content: Content) -> CommandExit:
        _refuse()

    async def read(self, identity: Identity, job: ReadJob) -> FileText:
        _refuse()

    def close(self) -> None: ...


def _refuse() -> NoReturn:
    raise DeliveryError("this program was not started to deliver mail")
