// Drives a whole staging deployment with the official TypeScript MCP client, as an agent would: it follows `next_actions`.
//
// argv: TRANSPORT (stdio | http) REVISION (2025-11-25 | 2026-07-28) ADDRESS WORKSPACE ARTIFACT VERSION [TOKEN]
// ADDRESS is the interlock binary for stdio and the URL of /mcp for http. Prints one JSON line of what was negotiated and done.
// INTERLOCK_NODE_MODULES names the folder the client is installed in: modules are looked up beside the importing file otherwise.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const installed = createRequire(`${process.env.INTERLOCK_NODE_MODULES}/`);
const load = name => import(pathToFileURL(installed.resolve(name)).href).then(found => found.default?.Client ? found.default : found);
const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
const { StdioClientTransport } = await load('@modelcontextprotocol/client/stdio');

const DEADLINE = 240_000;
const [transport, revision, address, workspace, artifact, version, token] = process.argv.slice(2);
const done = [];
let progress = 0;

function checkNextActions(name, content) {
  assert.ok(Array.isArray(content.next_actions), `${name}: ${JSON.stringify(content)}`);
  const recommended = content.next_actions.filter(action => action.recommended);
  assert.equal(recommended.length, content.next_actions.length ? 1 : 0, `${name}: ${JSON.stringify(content.next_actions)}`);
  for (const action of content.next_actions) {
    assert.ok(['agent', 'person', 'ci', 'server'].includes(action.who) && action.why, `${name}: ${JSON.stringify(action)}`);
  }
  return recommended[0] ?? {};
}

async function call(client, name, args = {}) {
  const options = { timeout: 60_000, onprogress: () => { progress += 1; } };
  const result = await client.callTool({ name, arguments: args }, options);
  const content = result.structuredContent;
  assert.ok(!result.isError, `${name} ${JSON.stringify(args)}: ${JSON.stringify(content)}`);
  assert.ok(content.state && content.summary && Buffer.byteLength(content.guidance) <= 1024, `${name}: ${JSON.stringify(content)}`);
  assert.deepEqual(JSON.parse(result.content[0].text), content, `${name}: the text says the same`);
  done.push(name);
  return [content, checkNextActions(name, content)];
}

async function refused(client, name, args) {
  const result = await client.callTool({ name, arguments: args });
  assert.equal(result.isError, true, `${name}: ${JSON.stringify(result)}`);
  const refusal = result.structuredContent ?? JSON.parse(result.content[0].text);
  for (const field of ['code', 'message', 'hint', 'who', 'retryable', 'attempts']) {
    assert.ok(field in refusal, `${name}: no ${field} in ${JSON.stringify(refusal)}`);
  }
  checkNextActions(name, refusal);
  return refusal.code;
}

// Finds an id in a result: the fact itself, or the arguments of the recommended call.
function identity(content, thing, action) {
  const value = content[thing] ?? action.arguments?.[thing];
  const id = value?.id ?? value;
  assert.equal(typeof id, 'string', `${thing}: ${JSON.stringify(content)}`);
  return id;
}

async function drive(client) {
  const until = Date.now() + DEADLINE;
  const code = await refused(client, 'execute_deployment', { plan: 'plan_of_nobody' });
  const { tools } = await client.listTools();

  await call(client, 'get_status');
  let [content, action] = await call(client, 'create_directive', { service: 'web', environment: 'staging', version, artifact });
  const directive = identity(content, 'directive', action);

  [content, action] = await call(client, 'run_predeploy_checks', { directive });
  while (action.tool === 'get_status' && Date.now() < until) {
    [content, action] = await call(client, 'get_status', { wait_seconds: 20, ...action.arguments });
  }

  [content, action] = await call(client, 'plan_deployment', { directive });
  [content, action] = await call(client, 'execute_deployment', { plan: identity(content, 'plan', action) });
  const deployment = identity(content, 'deployment', action);

  do {
    [content] = await call(client, 'get_deployment', { deployment, wait_seconds: 45, until: 'settled' });
  } while (!['succeeded', 'rolled_back', 'stuck'].includes(content.state) && Date.now() < until);
  const settled = content.state;

  await call(client, 'write_runbook', { deployment, notes: 'Deployed by the TypeScript client.' });
  [content] = await call(client, 'complete_directive', { directive });
  return {
    client: 'typescript', transport, negotiated: client.getNegotiatedProtocolVersion(), tools: tools.length, refused: code,
    directive, deployment, settled, completed: content.state, progress, done,
  };
}

const mode = revision === '2025-11-25' ? 'legacy' : 'auto';
const client = new Client({ name: 'interlock-test', version: '1' }, { versionNegotiation: { mode } });
await client.connect(transport === 'stdio'
  ? new StdioClientTransport({ command: address, args: ['mcp', '--workspace', workspace] })
  : new StreamableHTTPClientTransport(new URL(address), { requestInit: { headers: { Authorization: `Bearer ${token}` } } }));
const report = await drive(client);
await client.close();
assert.equal(report.negotiated, revision, JSON.stringify(report));
console.log(JSON.stringify(report));
