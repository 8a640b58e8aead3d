"""The system as several processes: which there are, and reloads that all of them take or none (docs/processes.md)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace

from pymta.app.doors import let_clients_wait, listen_anew
from pymta.app.process_plan import cores, is_shared, own_deliveries, role_counts, watchdog_seconds
from pymta.app.roles import DRAIN_SECONDS, Instance, delivery_main, qmgr_main, smtpd_main
from pymta.config import Config
from pymta.delivery.mailbox_jobs import UserActions
from pymta.errors import ConfigError, PymtaError
from pymta.runtime.logging import MailLog
from pymta.runtime.processes import Channel, Message
from pymta.runtime.supervisor import Question, Role, Supervisor
from pymta.runtime.tls_files import PemFiles

_RELOAD_SECONDS = 30.0
_PREPARE: Question = ({"op": "prepare"}, ())
_APPLY: Question = ({"op": "apply", "listen": []}, ())


class System:
    """The supervisor's side of one instance. `open_log` is called in each process."""

    def __init__(
        self,
        config: Config,
        *,
        log: MailLog,
        open_log: Callable[[], MailLog],
        sockets: dict[str, list[socket.socket]],
        actions: UserActions,
        keys: PemFiles,
    ) -> None:
        smtpd, delivery = self._counts = role_counts(config, cores())
        self._log_file = log
        self._listening = sockets
        self._log = log.service(f"{config.text('syslog_name')}/master")
        self._instance = Instance(
            config=config,
            token=secrets.token_hex(16),
            supervisor=os.getpid(),
            open_log=open_log,
            actions=actions,
            sockets=sockets,
            keys=keys,
            smtpd_processes=smtpd,
            delivery_processes=delivery,
            own_deliveries=own_deliveries(config, cores()),
        )
        roles = [Role("qmgr", self._qmgr, start=0, stop=1)]
        roles += [
            Role(f"delivery-{number}", self._delivery(number), start=1, stop=2) for number in range(1, delivery + 1)
        ]
        roles += [Role(f"smtpd-{number}", self._smtpd(number), start=1, stop=0) for number in range(1, smtpd + 1)]
        self._supervisor = Supervisor(
            roles,
            self._log,
            handle=self._handle,
            drain_seconds=DRAIN_SECONDS + 5.0,
            watchdog_seconds=watchdog_seconds(config),
        )

    def run(self, ready: Callable[[], None], stopping: Callable[[], None]) -> int:
        """Until asked to stop; raises RoleFailed where the system does not come up."""
        self._supervisor.start(lambda: let_clients_wait(self._listening))
        self._log.info(f"daemon started -- configuration {self._instance.config.text('config_directory')}")
        ready()
        self._supervisor.serve()
        stopping()
        self._supervisor.stop()
        return 0

    # Each is called in the new process, with the configuration that is in force by then.

    def _qmgr(self, channel: Channel, restarted: bool) -> int:
        return qmgr_main(self._instance, channel, restarted)

    def _smtpd(self, number: int) -> Callable[[Channel, bool], int]:
        return lambda channel, restarted: smtpd_main(self._instance, number, channel, restarted)

    def _delivery(self, number: int) -> Callable[[Channel, bool], int]:
        return lambda channel, restarted: delivery_main(self._instance, number, channel, restarted)

    # What roles ask, and SIGHUP.

    def _handle(self, name: str, message: Message) -> None:
        if message.get("op") == "stop":
            self._supervisor.request_stop()
        elif message.get("op") == "reload":
            self._reload_for(name)

    def _reload_for(self, name: str) -> None:
        """Tell who asked what came of it; the log where that was a signal."""
        messages: list[str] = []
        problem = ""
        try:
            messages = self._reload()
        except PymtaError as error:
            problem = str(error)
        if name:
            self._supervisor.tell(name, {"op": "reloaded", "messages": messages, "error": problem})
            return
        for text in messages:
            self._log.warning(text)
        if problem:
            self._log.error(f"reload failed, the old configuration stays: {problem}")

    def _reload(self) -> list[str]:
        """All roles put the new configuration in force, or none does; raises ConfigError then."""
        old = self._instance
        if old.config.directory is None:
            raise ConfigError("settings from code have no file to read again")
        config = Config.load(old.config.directory)
        messages: list[str] = []
        for role, answer in self._supervisor.ask_all(lambda role: _PREPARE, seconds=_RELOAD_SECONDS):
            if answer is None:
                raise ConfigError(f"process {role.name} does not answer")
            if answer["error"]:
                raise ConfigError(answer["error"])
            messages += [text for text in answer["messages"] if text not in messages]
        messages += self._new_counts(config) + listen_anew(self._listening, config)
        self._instance = replace(old, config=config, sockets=self._listening)
        self._supervisor.watchdog_seconds = watchdog_seconds(config)
        self._supervisor.kill_unready()
        messages += self._put_in_force()
        self._log_file.reopen()
        return messages

    def _put_in_force(self) -> list[str]:
        layout = [[key, len(group)] for key, group in self._listening.items()]
        descriptors = [one.fileno() for group in self._listening.values() for one in group]
        messages: list[str] = []
        for role, answer in self._supervisor.ask_all(
            lambda role: ({"op": "apply", "listen": layout}, descriptors) if _listens(role) else _APPLY,
            seconds=_RELOAD_SECONDS,
        ):
            messages += [f"process {role.name} does not answer"] if answer is None else answer["messages"]
        return messages

    def _new_counts(self, config: Config) -> list[str]:
        counts = role_counts(config, cores())
        if is_shared(config) and counts == self._counts:
            return []
        return ["process_model and numbers of processes: a change needs a restart"]


def _listens(role: Role) -> bool:
    return role.name.startswith("smtpd")
