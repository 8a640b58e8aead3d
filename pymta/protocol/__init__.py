"""Sans-IO engines: bytes in, events and bytes out. No sockets, clocks or threads."""
