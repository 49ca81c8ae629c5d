// GraphQL over event streams (https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md): rule by rule with bare fetch, and with
// the official client in both of its modes.
//
//   node sse.mjs URL TOKEN        (a token that may write)
import net from 'node:net';
import { createClient } from 'graphql-sse';

const [url, token] = process.argv.slice(2);
const endpoint = url + '/graphql';
const AUTH = Object.freeze({ authorization: `Bearer ${token}` }); // the official client writes into the headers that it is given
const JSON_TYPE = { 'content-type': 'application/json' };
const STREAM = { accept: 'text/event-stream' };
const LIVE = 'subscription ($after: Cursor) { customerChanged(after: $after) { change cursor customer { name } } }';
let passed = 0;
const failures = [], cases = [];
const test = (name, run) => cases.push([name, run]);

function equal(actual, expected, what = '') {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what} expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}
async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}
const bare = (result) => { const { extensions, ...rest } = result; return rest; };

// Events of a response as a browser's EventSource reads them (https://html.spec.whatwg.org/multipage/server-sent-events.html), and comments.
async function* events(response) {
  let text = '', event = {};
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    for (let end; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) {
      const line = text.slice(0, end);
      if (line === '') { if ('data' in event) yield event; event = {}; continue; }
      if (line.startsWith(':')) { yield { comment: line.slice(1).trim() }; continue; }
      const [, field, value] = /^([^:]+):? ?(.*)$/.exec(line);
      event[field] = field in event && field === 'data' ? `${event[field]}\n${value}` : value;
    }
  }
}
const post = (body, headers = {}) => fetch(endpoint, { method: 'POST', headers: { ...AUTH, ...JSON_TYPE, ...STREAM, ...headers }, body: JSON.stringify(body) });
const create = async (name) => {
  const r = await fetch(endpoint, { method: 'POST', headers: { ...AUTH, ...JSON_TYPE }, body: JSON.stringify({ query: 'mutation ($n: String!) { createCustomer(input: { name: $n }) { customer { id } errors { message } } }', variables: { n: name } }) });
  const { data } = await r.json();
  equal(data.createCustomer.errors, []);
};
async function all(response) { const list = []; for await (const e of events(response)) list.push(e); return list; }
// The names of customers that were added, until `last` came.
async function added(response, last) {
  const names = [], ids = [];
  for await (const e of events(response)) {
    if (e.event !== 'next') continue;
    const { change, cursor, customer } = JSON.parse(e.data).data.customerChanged;
    equal(e.id, cursor, 'the id is the cursor:');
    ids.push(e.id);
    if (change === 'ADDED') names.push(customer.name);
    if (customer?.name === last) break;
  }
  return { names, ids };
}

test('a query: next, then complete with a line of data', async () => {
  const r = await post({ query: '{ __typename }' });
  equal([r.status, r.headers.get('content-type'), r.headers.get('cache-control'), r.headers.get('content-encoding')], [200, 'text/event-stream; charset=utf-8', 'no-store', null]);
  const list = await all(r);
  equal(list.map((e) => e.event), ['next', 'complete']);
  equal(bare(JSON.parse(list[0].data)), { data: { __typename: 'Query' } });
  equal(list[1].data, '');
});
test('a query by GET; a mutation by GET is refused on the stream', async () => {
  const get = (query) => fetch(`${endpoint}?${new URLSearchParams({ query })}`, { headers: { ...AUTH, ...STREAM } });
  equal(bare(JSON.parse((await all(await get('{ __typename }')))[0].data)), { data: { __typename: 'Query' } });
  const list = await all(await get('mutation { createCustomer(input: { name: "x" }) { customer { id } } }'));
  equal(JSON.parse(list[0].data).errors[0].extensions.code, 'OPERATION_NOT_ALLOWED');
});
test('what is invalid is told on a stream of status 200', async () => {
  for (const query of ['{ nope }', '{', 'subscription { nope }', 'subscription { customerChanged(after: "x") { change } }']) {
    const r = await post({ query });
    equal([r.status, r.headers.get('content-type')], [200, 'text/event-stream; charset=utf-8'], query);
    const list = await all(r);
    equal(list.map((e) => e.event), ['next', 'complete'], query);
    if (!JSON.parse(list[0].data).errors?.length) throw new Error(list[0].data);
  }
});
test('without a token there is no stream', async () => {
  const r = await fetch(endpoint, { method: 'POST', headers: { ...JSON_TYPE, ...STREAM }, body: '{"query":"{ __typename }"}' });
  equal([r.status, (await r.json()).errors[0].extensions.code], [401, 'UNAUTHENTICATED']);
});
test('who takes JSON too gets a query as JSON, a subscription as a stream', async () => {
  const accept = { accept: 'application/graphql-response+json, application/json, text/event-stream, multipart/mixed' };
  const r = await post({ query: '{ __typename }' }, accept);
  equal(r.headers.get('content-type'), 'application/graphql-response+json; charset=utf-8');
  await r.json();
  const stop = new AbortController();
  const s = await fetch(endpoint, { method: 'POST', signal: stop.signal, headers: { ...AUTH, ...JSON_TYPE, ...accept }, body: JSON.stringify({ query: LIVE }) });
  equal(s.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  stop.abort();
});
test('Last-Event-ID goes on behind that event, over what `after` says', async () => {
  const stop = new AbortController();
  const first = await fetch(endpoint, { method: 'POST', signal: stop.signal, headers: { ...AUTH, ...JSON_TYPE, ...STREAM }, body: JSON.stringify({ query: LIVE }) });
  const seen = added(first, 'event 2');
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const n of [1, 2, 3, 4]) await create(`event ${n}`);
  const { ids } = await within(seen, 8000, 'event 2');
  stop.abort();
  const { names } = await within(added(await post({ query: LIVE, variables: { after: ids[0] } }, { 'last-event-id': ids.at(-1) }), 'event 4'), 8000, 'event 4');
  equal(names.filter((n) => n.startsWith('event ')), ['event 3', 'event 4']);
  const resumed = await within(added(await post({ query: LIVE, extensions: { resume: ids.at(-1) } }), 'event 4'), 8000, 'event 4');
  equal(resumed.names.filter((n) => n.startsWith('event ')), ['event 3', 'event 4']);
});

// ---- single connection mode, by hand
const reserve = async () => { const r = await fetch(endpoint, { method: 'PUT', headers: AUTH }); equal(r.status, 201); return r.text(); };
test('one stream for a reservation, no more', async () => {
  const id = await reserve();
  const stop = new AbortController();
  const r = await fetch(`${endpoint}?token=${id}`, { headers: STREAM, signal: stop.signal });
  equal([r.status, r.headers.get('content-type')], [200, 'text/event-stream; charset=utf-8']);
  equal((await fetch(`${endpoint}?token=${id}`, { headers: STREAM })).status, 409);
  equal((await fetch(`${endpoint}?token=nope`, { headers: STREAM })).status, 404);
  stop.abort();
  // It goes with its stream.
  for (let i = 0; ; i++) {
    const status = (await fetch(`${endpoint}?token=${id}`, { headers: STREAM })).status;
    if (status === 404) break;
    if (i > 100) throw new Error(`still ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});
test('operations by POST, 202, their results on the stream; DELETE ends one; an id twice is refused', async () => {
  const id = await reserve();
  const order = (method, body, query = '') => fetch(endpoint + query, { method, headers: { ...AUTH, ...JSON_TYPE, 'x-graphql-event-stream-token': id }, body: body && JSON.stringify(body) });
  // Before the stream is open they wait.
  equal((await order('POST', { query: LIVE, extensions: { operationId: 's' } })).status, 202);
  equal((await order('POST', { query: '{ __typename }', extensions: { operationId: 's' } })).status, 409);
  equal((await order('POST', { query: '{ __typename }' })).status, 400, 'no id');
  equal((await order('POST', { query: '{ nope }', extensions: { operationId: 'n' } })).status, 400, 'invalid');
  const stop = new AbortController();
  const it = events(await fetch(`${endpoint}?token=${id}`, { headers: STREAM, signal: stop.signal }));
  const next = async () => { for (;;) { const { value } = await within(it.next(), 8000, 'an event'); if (value.event) return { event: value.event, ...JSON.parse(value.data) }; } };
  equal((await next()).payload.data.customerChanged.change, 'CAUGHT_UP');
  equal((await order('POST', { query: '{ __typename }', extensions: { operationId: 'q' } })).status, 202);
  let got;
  do got = await next(); while (got.id !== 'q');
  equal(bare(got.payload), { data: { __typename: 'Query' } });
  do got = await next(); while (got.id !== 'q');
  equal(got.event, 'complete');
  equal((await order('DELETE', undefined, '?operationId=s')).status, 200);
  await create('nobody listens');
  equal((await order('POST', { query: '{ __typename }', extensions: { operationId: 's' } })).status, 202, 'the id is free again');
  do { got = await next(); if (got.payload?.data?.customerChanged?.customer?.name === 'nobody listens') throw new Error('told after its end'); } while (got.event !== 'complete');
  equal(got.id, 's');
  stop.abort();
});
test('another actor may not give orders to a stream', async () => {
  const id = await reserve();
  const r = await fetch(endpoint, { method: 'POST', headers: { ...JSON_TYPE, 'x-graphql-event-stream-token': id }, body: '{"query":"{ __typename }","extensions":{"operationId":"a"}}' });
  equal(r.status, 401);
});

// A way to the gateway whose connections can be cut.
const wires = () => new Promise((resolve) => {
  const { hostname, port } = new URL(url);
  const open = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    for (const socket of [near, far]) { open.add(socket); socket.on('error', () => {}); socket.on('close', () => { open.delete(socket); near.destroy(); far.destroy(); }); }
    near.pipe(far).pipe(near);
  });
  server.listen(0, '127.0.0.1', () => resolve({
    url: `http://127.0.0.1:${server.address().port}/graphql`,
    cut: () => { const n = open.size; for (const socket of open) socket.destroy(); return n; },
    close: () => server.close(),
  }));
});

// ---- the official client, in both modes
for (const singleConnection of [false, true]) {
  const mode = singleConnection ? 'single' : 'distinct';
  const client = (more = {}) => createClient({ url: endpoint, singleConnection, headers: () => ({ ...AUTH }), retryAttempts: 3, retry: async () => {}, ...more });
  test(`official client, ${mode}: query, mutation, errors`, async () => {
    const c = client();
    const ask = (query) => new Promise((resolve, reject) => { let last; c.subscribe({ query }, { next: (v) => (last = bare(v)), error: reject, complete: () => resolve(last) }); });
    equal(await ask('{ __typename }'), { data: { __typename: 'Query' } });
    equal(await ask(`mutation { createCustomer(input: { name: "${mode}" }) { customer { name } errors { code } } }`), { data: { createCustomer: { customer: { name: mode }, errors: [] } } });
    c.dispose();
  });
  test(`official client, ${mode}: live, and a lost connection goes on behind the last message`, async () => {
    let last;
    const wire = await wires();
    const c = client({ url: wire.url, headers: () => (last ? { ...AUTH, 'last-event-id': last } : { ...AUTH }) });
    const names = [];
    let wake;
    const heard = (n) => within((async () => { while (names.length < n) await new Promise((resolve) => (wake = resolve)); })(), 8000, `${n} messages, got ${JSON.stringify(names)}`);
    let up;
    const caughtUp = new Promise((resolve) => (up = resolve));
    let stop;
    const end = new Promise((resolve, reject) => (stop = c.subscribe({ query: LIVE }, {
      next: (v) => {
        if (v.errors) return reject(new Error(JSON.stringify(v.errors)));
        const { change, cursor, customer } = v.data.customerChanged;
        last = cursor;
        if (change === 'CAUGHT_UP') up();
        if (change === 'ADDED' && customer.name.startsWith(`cut ${mode}`)) { names.push(customer.name.slice(-1)); wake?.(); }
      },
      error: reject, complete: resolve,
    })));
    end.catch(() => {});
    await within(caughtUp, 8000, 'the beginning');
    await create(`cut ${mode} 1`);
    await heard(1);
    equal(wire.cut() > 0, true, 'there was a connection:');
    await create(`cut ${mode} 2`);
    await create(`cut ${mode} 3`);
    await heard(3);
    equal(names, ['1', '2', '3'], 'each once, in order:');
    stop();
    await within(end, 5000, 'the end');
    c.dispose();
    wire.close();
  });
}

const only = process.argv[4];
await Promise.all(cases.filter(([name]) => !only || name.includes(only)).map(async ([name, run]) => {
  try { await within(run(), 20000, 'the case'); passed++; } catch (e) { failures.push(`${name}: ${e.message}`); }
}));
for (const f of failures) console.error(`FAILED ${f}`);
console.log(`graphql-sse: ${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
