"""Close an asyncio server so that it leaves no connection open."""

import asyncio


async def close_server(server: asyncio.Server) -> None:
    """Stop listening, after every connection that was accepted has been told of.

    Python 3.11 leaks the others: `Server._attach` fails in the constructor of their transport.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)  # what was accepted in this round of the loop is told of in the next
    server.close()
