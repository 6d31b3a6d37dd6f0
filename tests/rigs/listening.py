import asyncio
import socket
from collections.abc import Iterable

# asyncio takes no more turns from an accepted connection to the task of its protocol.
_TURNS_TO_A_PROTOCOL = 4


async def accept_no_more(sockets: Iterable[socket.socket]) -> None:
    """End accepting on these, before their server is closed; whatever was accepted has its protocol afterwards.

    asyncio forgets a connection whose server closes between its being accepted and its transport: nothing
    closes the socket, and the test that runs when it is collected gets the blame.
    """
    for listener in sockets:
        asyncio.get_running_loop().remove_reader(listener)
    for _ in range(_TURNS_TO_A_PROTOCOL):
        await asyncio.sleep(0)
