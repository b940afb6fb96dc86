// Calls one tool with the official TypeScript MCP client as a host that opens addresses for its user.
//
// argv: TRANSPORT (stdio | http) ADDRESS WORKSPACE NAME TOOL ARGUMENTS [TOKEN]
// Prints each address it is asked to open as one JSON line and answers with what it then reads on a line of standard input: accept, decline or
// cancel. Prints the result of the call as the last line. INTERLOCK_NODE_MODULES names the folder the client is installed in.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const installed = createRequire(`${process.env.INTERLOCK_NODE_MODULES}/`);
const load = name => import(pathToFileURL(installed.resolve(name)).href).then(found => found.default?.Client ? found.default : found);
const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
const { StdioClientTransport } = await load('@modelcontextprotocol/client/stdio');

const [transport, address, workspace, name, tool, args, token] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const client = new Client({ name, version: '1' }, { capabilities: { elicitation: { url: {} } }, versionNegotiation: { mode: 'auto' } });
client.setRequestHandler('elicitation/create', async request => {
  console.log(JSON.stringify({ offered: request.params }));
  return { action: (await answers.next()).value };
});
await client.connect(transport === 'stdio'
  ? new StdioClientTransport({ command: address, args: ['mcp', '--workspace', workspace] })
  : new StreamableHTTPClientTransport(new URL(address), { requestInit: { headers: { Authorization: `Bearer ${token}` } } }));
const result = await client.callTool({ name: tool, arguments: JSON.parse(args) }, { timeout: 60_000 });
console.log(JSON.stringify({ result: result.structuredContent, revision: client.getNegotiatedProtocolVersion() }));
await client.close();
process.exit(0);
