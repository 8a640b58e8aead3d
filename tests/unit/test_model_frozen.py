"""Frozen values and their changed copies."""

from pymta.model.envelope import Client
from pymta.model.frozen import changed


def test_a_changed_copy_differs_in_the_fields_named_and_leaves_the_original_alone() -> None:
    client = Client(address="192.0.2.1", name="client.example")
    greeted = changed(client, helo="there", protocol="ESMTP")
    assert greeted == Client(address="192.0.2.1", name="client.example", helo="there", protocol="ESMTP")
    assert client == Client(address="192.0.2.1", name="client.example")
    assert changed(greeted) == greeted and changed(greeted) is not greeted
