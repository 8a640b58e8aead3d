"""asyncio glue: loop, log, clock, threads, sockets, processes."""
