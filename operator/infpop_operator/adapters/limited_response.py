"""Read the body of an HTTP response of limited size: the server is not trusted with the operator's memory."""

import httpx


async def read_limited(response: httpx.Response, most_bytes: int) -> bytes | None:
    """Return the body, None if it is too long, or compressed although the request asked for a plain one."""
    if "Content-Encoding" in response.headers:
        return None
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > most_bytes:
            return None
    return bytes(content)
