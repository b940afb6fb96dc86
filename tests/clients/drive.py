"""Drives a whole staging deployment with the official Python MCP client, as an agent would: it follows `next_actions`.

argv: TRANSPORT (stdio | http) REVISION (2025-11-25 | 2026-07-28) ADDRESS WORKSPACE ARTIFACT VERSION [TOKEN]
ADDRESS is the interlock binary for stdio and the URL of /mcp for http. Prints one JSON line of what was negotiated and done.
"""

import asyncio
import json
import sys
import time

import httpx2
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

DEADLINE = 240
transport, revision, address, workspace, artifact, version, *token = sys.argv[1:]
done, progress = [], []


async def on_progress(amount, total, message):
    progress.append(amount)


def check_next_actions(name, content):
    actions = content["next_actions"]
    assert isinstance(actions, list), (name, content)
    recommended = [action for action in actions if action.get("recommended")]
    assert len(recommended) == (1 if actions else 0), (name, actions)
    for action in actions:
        assert action["who"] in ("agent", "person", "ci", "server") and action["why"], (name, action)
    return recommended[0] if recommended else {}


async def call(client, name, **arguments):
    result = await client.call_tool(name, arguments, read_timeout_seconds=60, progress_callback=on_progress)
    content = result.structured_content
    assert not result.is_error, (name, arguments, content)
    assert content["state"] and content["summary"] and len(content["guidance"]) <= 1024, (name, content)
    assert json.loads(result.content[0].text) == content, (name, "the text says the same")
    done.append(name)
    return content, check_next_actions(name, content)


async def refused(client, name, **arguments):
    result = await client.call_tool(name, arguments, read_timeout_seconds=60)
    assert result.is_error, (name, result)
    refusal = result.structured_content or json.loads(result.content[0].text)
    for field in ("code", "message", "hint", "who", "retryable", "attempts"):
        assert field in refusal, (name, field, refusal)
    check_next_actions(name, refusal)
    return refusal["code"]


def identity(content, thing, action):
    """Finds an id in a result: the fact itself, or the arguments of the recommended call."""
    value = content.get(thing) or (action.get("arguments") or {}).get(thing)
    value = value.get("id") if isinstance(value, dict) else value
    assert isinstance(value, str) and value, (thing, content)
    return value


async def drive(client):
    until = time.monotonic() + DEADLINE
    code = await refused(client, "execute_deployment", plan="plan_of_nobody")
    tools = [tool.name for tool in (await client.list_tools()).tools]

    await call(client, "get_status")
    content, action = await call(
        client, "create_directive", service="web", environment="staging", version=version, artifact=artifact
    )
    directive = identity(content, "directive", action)

    content, action = await call(client, "run_predeploy_checks", directive=directive)
    while action.get("tool") == "get_status" and time.monotonic() < until:
        content, action = await call(client, "get_status", **{"wait_seconds": 20, **(action.get("arguments") or {})})

    content, action = await call(client, "plan_deployment", directive=directive)
    content, action = await call(client, "execute_deployment", plan=identity(content, "plan", action))
    deployment = identity(content, "deployment", action)

    content, _ = await call(client, "get_deployment", deployment=deployment, wait_seconds=45, until="settled")
    while content["state"] not in ("succeeded", "rolled_back", "stuck") and time.monotonic() < until:
        content, _ = await call(client, "get_deployment", deployment=deployment, wait_seconds=45, until="settled")
    settled = content["state"]

    await call(client, "write_runbook", deployment=deployment, notes="Deployed by the Python client.")
    content, _ = await call(client, "complete_directive", directive=directive)
    return {
        "client": "python",
        "transport": transport,
        "negotiated": client.protocol_version,
        "tools": len(tools),
        "refused": code,
        "directive": directive,
        "deployment": deployment,
        "settled": settled,
        "completed": content["state"],
        "progress": len(progress),
        "done": done,
    }


async def main():
    mode = "legacy" if revision == "2025-11-25" else "auto"
    if transport == "stdio":
        server = StdioServerParameters(command=address, args=["mcp", "--workspace", workspace])
        async with Client(server, mode=mode) as client:
            report = await drive(client)
    else:
        headers = {"Authorization": f"Bearer {token[0]}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            async with Client(streamable_http_client(address, http_client=http), mode=mode) as client:
                report = await drive(client)
    assert report["negotiated"] == revision, report
    print(json.dumps(report))


asyncio.run(main())
