"""What the queue manager asks of the configuration in force; a reload points it at the next one."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.app.wiring import Wiring
from pymta.config import Config, build
from pymta.model.address import Address
from pymta.model.delivery import DeliveryResult
from pymta.model.envelope import Origin
from pymta.model.queue import QueueEntry
from pymta.model.route import Route
from pymta.ports import Content, DeliveryAgent, Log
from pymta.qmgr import QueueManagerSettings
from pymta.qmgr.scheduler import TransportLimits
from pymta.qmgr.settings import transport_limits


class ProbeRoutes:
    """The AddressResolver of address verification's probes."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def rewrite(self, address: Address) -> Address:
        return self._switch.rewrite(address)

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        return await self._switch.wiring.probe_rewriter.resolve(recipient, sender)

    def known(self, recipient: Address) -> Route | None:
        return self._switch.wiring.probe_rewriter.known(recipient)


class Switch:
    """An AddressResolver, a Notifier and the finder of agents, all of `wiring`."""

    wiring: Wiring

    def rewrite(self, address: Address) -> Address:
        return self.wiring.rewriter.rewrite(address)

    async def resolve(self, recipient: Address, sender: Address) -> Route:
        return await self.wiring.rewriter.resolve(recipient, sender)

    def known(self, recipient: Address) -> Route | None:
        return self.wiring.rewriter.known(recipient)

    def queue_settings(self, config: Config) -> QueueManagerSettings:
        return build(QueueManagerSettings, config)

    def limits(self, transport: str) -> TransportLimits:
        """A transport's rules; maxproc of master.cf bounds its deliveries."""
        config = self.wiring.config
        service = self.wiring.plan.transports.get(transport)
        processes = service.maxproc if service else None
        if processes is None:
            processes = int(config.text("default_process_limit"))
        return transport_limits(transport, config.transport_value, processes)

    def delivery_log(self, transport: str) -> Log:
        return self.wiring.delivery_log(transport)

    def agent(self, transport: str) -> DeliveryAgent | None:
        return self.wiring.agents.get(transport)

    async def failed(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        await self.wiring.bounce.failed(entry, results, content)

    async def delayed(self, entry: QueueEntry, content: Content) -> None:
        await self.wiring.bounce.delayed(entry, content)

    async def succeeded(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        await self.wiring.bounce.succeeded(entry, results, content)

    async def traced(self, entry: QueueEntry, results: Sequence[DeliveryResult], content: Content) -> None:
        if entry.origin is Origin.VERIFY:
            self.wiring.verifier.record(entry, results)
        else:
            await self.wiring.bounce.traced(entry, results, content)
