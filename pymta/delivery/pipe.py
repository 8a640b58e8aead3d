"""pipe(8): delivery to an external command."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.delivery.command import command_failure
from pymta.delivery.local_loops import delivered_to, is_loop
from pymta.delivery.local_values import exported
from pymta.delivery.mailbox_copy import envelope_header, external, from_line
from pymta.delivery.mailbox_jobs import CommandJob, Identity, UserActions
from pymta.delivery.pipe_service import PipeService
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.queue import QueuedRecipient
from pymta.ports import Clock, Content, Log
from pymta.tables import split_extension

_MAX_OUTPUT = 100


class PipeAgent:
    """Runs a service's command for a message and its recipients.

    `time_limit` is `NAME_time_limit` in seconds, `environment` what the command gets (`pipe_environment`).
    With flags D or O a delivery has to be for one recipient.
    """

    def __init__(
        self,
        service: PipeService,
        actions: UserActions,
        clock: Clock,
        log: Log,
        *,
        time_limit: float,
        recipient_delimiter: str,
        environment: Sequence[tuple[str, str]],
    ) -> None:
        self._service = service
        self._actions = actions
        self._clock = clock
        self._log = log
        self._time_limit = time_limit
        self._delimiter = recipient_delimiter
        self._environment = tuple(environment)

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        service = self._service
        if service.size_limit and content.size > service.size_limit:
            self._log.warning(
                f"{request.queue_id}: too big: size_limit = {service.size_limit}, request->data_size = {content.size}"
            )
            return self._all(request, "5.2.3", "message too large")
        if service.flags & {"D", "O"} and len(request.recipients) > 1:
            flag = "D" if "D" in service.flags else "O"
            self._log.warning(f"pipe flag `{flag}' requires {service.name}_destination_recipient_limit = 1")
            return self._all(request, "4.3.5", "mail system configuration error")
        if "D" in service.flags and is_loop(await delivered_to(content), str(request.recipients[0].address)):
            return self._all(request, "5.4.6", f"mail forwarding loop for {request.recipients[0].address}")
        if request.is_probe:
            return self._all(request, "2.0.0", f"delivers to command: {service.argv[0]}")
        return await self._run(request, content)

    async def _run(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        service = self._service
        job = CommandJob(
            argv=self._argv(request),
            environment=self._environment,
            header=self._header(request),
            time_limit=self._time_limit,
            directory=service.directory,
            eol=service.eol,
            quote_from=">" in service.flags,
            quote_dot="." in service.flags,
            blank_line="B" in service.flags,
        )
        ended = await self._actions.run(Identity(service.uid, service.gid, service.chroot), job, content)
        failure = command_failure(ended, job.argv[0])
        if failure is not None:
            return self._all(request, *failure)
        output = " ".join(ended.output.split())[:_MAX_OUTPUT]
        text = f"delivered via {service.name} service" + (f" ({output})" if output else "")
        return self._all(request, "2.0.0", text)

    def _all(self, request: DeliveryRequest, status: str, reason: str) -> list[DeliveryResult]:
        outcome = {"2": Outcome.SENT, "4": Outcome.DEFERRED}.get(status[0], Outcome.BOUNCED)
        action = "delivered" if "X" in self._service.flags else "relayed"
        return [
            DeliveryResult(
                recipient.number,
                outcome,
                status,
                reason,
                self._service.name,
                action=action if outcome is Outcome.SENT else "",
            )
            for recipient in request.recipients
        ]

    def _argv(self, request: DeliveryRequest) -> tuple[str, ...]:
        client = request.client
        message = {
            "client_address": client.address,
            "client_helo": client.helo,
            "client_hostname": client.name,
            "client_port": client.port,
            "client_protocol": client.protocol,
            "envid": request.envid,
            "nexthop": self._folded(request.nexthop, "h"),
            "queue_id": request.queue_id,
            "sasl_method": client.sasl_method,
            "sasl_sender": client.sasl_sender,
            "sasl_username": client.sasl_username,
            "sender": self._external(request.sender) or self._service.null_sender,
            "size": str(request.size),
        }
        return self._service.command_line(message, [self._recipient(recipient) for recipient in request.recipients])

    def _recipient(self, recipient: QueuedRecipient) -> dict[str, str]:
        address = recipient.address
        if not address.domain:
            self._log.warning(f"no @ in recipient address: {address}")
        user, delimited = split_extension(address.local_part, self._delimiter)
        folded = self._folded_address(address)
        return {
            "user": self._folded(user, "u"),
            "extension": self._folded(delimited[1:], "u"),
            "mailbox": folded.local_part,
            "domain": folded.domain,
            "recipient": self._external(folded),
            "original_recipient": self._external(self._folded_address(recipient.original)),
        }

    def _folded(self, text: str, flag: str) -> str:
        return text.lower() if flag in self._service.flags else text

    def _folded_address(self, address: Address) -> Address:
        return Address(self._folded(address.local_part, "u"), self._folded(address.domain, "h"))

    def _external(self, address: Address) -> str:
        return external(address) if "q" in self._service.flags else str(address)

    def _header(self, request: DeliveryRequest) -> bytes:
        flags, recipient = self._service.flags, request.recipients[0]
        sender = request.sender
        line = from_line(sender, self._clock.now()) + b"\n" if "F" in flags else b""
        return line + envelope_header(
            sender=sender if "R" in flags else None,
            original=recipient.original if "O" in flags else None,
            delivered=recipient.address if "D" in flags else None,
        )


def pipe_environment(export_environment: Sequence[str], environment: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What a pipe command gets of our own environment: export_environment, and a safe PATH."""
    return tuple(exported(export_environment, environment).items())
