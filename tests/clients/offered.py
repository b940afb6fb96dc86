"""Calls one tool with the official Python MCP client as a host that opens addresses for its user.

argv: TRANSPORT (stdio | http) ADDRESS WORKSPACE NAME TOOL ARGUMENTS [TOKEN]
Prints each address it is asked to open as one JSON line and answers with what it then reads on a line of standard input: accept, decline or
cancel. Prints the result of the call as the last line.
"""

import asyncio
import json
import sys

import httpx2
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult, Implementation

transport, address, workspace, name, tool, arguments, *token = sys.argv[1:]


def say(thing):
    print(json.dumps(thing), flush=True)


async def open_address(context, params):
    say({"offered": params.model_dump(mode="json", exclude_none=True)})
    return ElicitResult(action=(await asyncio.to_thread(sys.stdin.readline)).strip())


async def call(server):
    who = Implementation(name=name, version="1")
    async with Client(server, mode="auto", client_info=who, elicitation_callback=open_address) as client:
        result = await client.call_tool(tool, json.loads(arguments), read_timeout_seconds=60)
        say({"result": result.structured_content, "revision": client.protocol_version})


async def main():
    if transport == "stdio":
        await call(StdioServerParameters(command=address, args=["mcp", "--workspace", workspace]))
    else:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token[0]}"}, timeout=60) as http:
            await call(streamable_http_client(address, http_client=http))


asyncio.run(main())
