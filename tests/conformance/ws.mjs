// The graphql-transport-ws protocol, rule by rule (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md), with a
// bare socket for what a well-behaved client never does, and with the official client for what it does.
//
//   node ws.mjs URL TOKEN        (a token that may write)
import WebSocket from 'ws';
import { createClient, CloseCode } from 'graphql-ws';

const [url, token] = process.argv.slice(2);
const wsUrl = url.replace(/^http/, 'ws') + '/graphql';
const PROTOCOL = 'graphql-transport-ws';
let passed = 0;
const failures = [];

// Messages without what an operation cost.
function bare(m) { if (m.payload && !Array.isArray(m.payload)) delete m.payload.extensions; return m; }

// A socket that keeps what it got; `next()` waits for a message, `closed` for the close code.
function open(protocol = PROTOCOL, options = {}) {
  const socket = new WebSocket(wsUrl, protocol, options);
  const inbox = [], waiting = [];
  socket.on('message', (data) => { const m = bare(JSON.parse(data.toString())); const w = waiting.shift(); w ? w(m) : inbox.push(m); });
  const closed = new Promise((resolve) => socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })));
  socket.on('error', () => {});
  return {
    socket, closed, inbox,
    ready: new Promise((resolve, reject) => { socket.on('open', resolve); socket.on('close', () => reject(new Error('closed before open'))); }),
    send: (m) => socket.send(typeof m === 'string' ? m : JSON.stringify(m)),
    next: (ms = 5000) => inbox.length ? Promise.resolve(inbox.shift()) : new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no message came')), ms);
      waiting.push((m) => { clearTimeout(timer); resolve(m); });
    }),
    close: () => socket.close(1000),
  };
}
async function acked() {
  const s = open();
  await s.ready;
  s.send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
  equal((await s.next()).type, 'connection_ack');
  return s;
}
function equal(actual, expected, what = '') {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what} expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}
async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}
async function closes(s, code) { equal((await within(s.closed, 8000, `close ${code}`)).code, code, 'close code'); }
const cases = [];
const test = (name, run) => cases.push([name, run]);
const sub = (id, query, variables) => ({ id, type: 'subscribe', payload: { query, variables } });
const LIVE = 'subscription { customerChanged { change id } }';

test('an unknown sub-protocol is closed with 4406', async () => { const s = open('nope'); await closes(s, 4406); });
test('no sub-protocol is closed with 4406', async () => { const s = open([]); await closes(s, 4406); });
test('a text that is not JSON closes with 4400', async () => { const s = open(); await s.ready; s.send('{nope'); await closes(s, 4400); });
test('an unknown message type closes with 4400', async () => { const s = open(); await s.ready; s.send({ type: 'start' }); await closes(s, 4400); });
test('a message that is not an object closes with 4400', async () => { const s = open(); await s.ready; s.send('[]'); await closes(s, 4400); });
test('a subscribe without id closes with 4400', async () => { const s = await acked(); s.send({ type: 'subscribe', payload: { query: '{ __typename }' } }); await closes(s, 4400); });
test('a subscribe with an empty id closes with 4400', async () => { const s = await acked(); s.send({ id: '', type: 'subscribe', payload: { query: '{ __typename }' } }); await closes(s, 4400); });
test('a subscribe without query closes with 4400', async () => { const s = await acked(); s.send({ id: '1', type: 'subscribe', payload: {} }); await closes(s, 4400); });
test('a subscribe before the ack closes with 4401', async () => { const s = open(); await s.ready; s.send(sub('1', '{ __typename }')); await closes(s, 4401); });
test('a second init closes with 4429', async () => { const s = await acked(); s.send({ type: 'connection_init' }); await closes(s, 4429); });
test('an init without a token is closed with 4403', async () => { const s = open(); await s.ready; s.send({ type: 'connection_init' }); await closes(s, 4403); });
test('an init with a wrong token is closed with 4403', async () => { const s = open(); await s.ready; s.send({ type: 'connection_init', payload: { authorization: 'Bearer klio_wrong' } }); await closes(s, 4403); });
test('no init within 3 s is closed with 4408', async () => { const s = open(); await closes(s, 4408); });
test('an id in use closes with 4409', async () => { const s = await acked(); s.send(sub('1', LIVE)); s.send(sub('1', LIVE)); await closes(s, 4409); });
test('an id in use closes with 4409 for queries too', async () => { const s = await acked(); s.send(sub('1', LIVE)); s.send(sub('1', '{ __typename }')); await closes(s, 4409); });
test('a ping is answered with its payload, before the ack too', async () => {
  const s = open(); await s.ready;
  s.send({ type: 'ping', payload: { n: 1 } });
  equal(await s.next(), { type: 'pong', payload: { n: 1 } });
  s.close();
});
test('an unasked pong is ignored', async () => { const s = await acked(); s.send({ type: 'pong' }); s.send({ type: 'ping' }); equal((await s.next()).type, 'pong'); s.close(); });
test('a query answers next and complete', async () => {
  const s = await acked();
  s.send(sub('q', '{ __typename }'));
  equal(await s.next(), { id: 'q', type: 'next', payload: { data: { __typename: 'Query' } } });
  equal(await s.next(), { id: 'q', type: 'complete' });
  s.send(sub('q', '{ __typename }'));
  equal((await s.next()).type, 'next', 'an id is free after its end:');
  s.close();
});
test('a validation error is an error message without a complete', async () => {
  const s = await acked();
  s.send(sub('e', '{ nope }'));
  const m = await s.next();
  equal([m.id, m.type, Array.isArray(m.payload), typeof m.payload[0].message], ['e', 'error', true, 'string']);
  s.send({ type: 'ping' });
  equal((await s.next()).type, 'pong', 'after the error:');
  s.close();
});
test('a syntax error is an error message', async () => { const s = await acked(); s.send(sub('e', '{')); equal((await s.next()).type, 'error'); s.close(); });
test('a subscription with two root fields is refused', async () => { const s = await acked(); s.send(sub('e', 'subscription { a: customerChanged { id } b: customerChanged { id } }')); equal((await s.next()).type, 'error'); s.close(); });
test('a client’s complete is not echoed, and nothing follows it', async () => {
  const s = await acked();
  s.send(sub('c', LIVE));
  s.send({ id: 'c', type: 'complete' });
  s.send(sub('m', 'mutation { createCustomer(input: { name: "after complete" }) { customer { id } } }'));
  const got = [];
  for (;;) { const m = await s.next(); got.push(m); if (m.id === 'm' && m.type === 'complete') break; }
  s.send({ type: 'ping' });
  for (;;) { const m = await s.next(); if (m.type === 'pong') break; got.push(m); }
  // What was sent before the complete arrived may be there (a caught-up notice); a change after it may not.
  equal(got.filter((m) => m.id === 'c' && m.type === 'complete').length, 0, 'echo:');
  equal(got.filter((m) => m.id === 'c' && m.payload?.data?.customerChanged?.change === 'ADDED').length, 0, 'changes after complete:');
  s.close();
});
test('a complete for an unknown id is ignored', async () => { const s = await acked(); s.send({ id: 'nobody', type: 'complete' }); s.send({ type: 'ping' }); equal((await s.next()).type, 'pong'); s.close(); });
test('a message over 64 KiB closes the socket', async () => {
  const s = await acked();
  s.send(sub('big', `{ __typename } # ${'x'.repeat(80_000)}`));
  const { code } = await within(s.closed, 8000, 'close');
  if (![1009, 4400].includes(code)) throw new Error(`closed with ${code}`);
});
test('two subscriptions on one socket get the same change', async () => {
  const s = await acked();
  s.send(sub('a', LIVE)); s.send(sub('b', LIVE));
  const up = new Set();
  // Other cases make customers meanwhile: each list may hold theirs, before or behind ours.
  const seen = { a: [], b: [] };
  const take = (m) => { if (m.type === 'next' && m.payload.data.customerChanged?.change === 'ADDED') seen[m.id].push(m.payload.data.customerChanged.id); };
  while (up.size < 2) { const m = await s.next(); if (m.payload.data.customerChanged.change === 'CAUGHT_UP') up.add(m.id); else take(m); }
  s.send(sub('m', 'mutation { createCustomer(input: { name: "two of them" }) { customer { id } } }'));
  let made;
  while (!made || !seen.a.includes(made) || !seen.b.includes(made)) {
    const m = await s.next();
    if (m.id === 'm' && m.type === 'next') made = m.payload.data.createCustomer.customer.id; else take(m);
  }
  equal([seen.a, seen.b].map((ids) => ids.filter((id) => id === made).length), [1, 1], 'once each:');
  s.close();
});

// ---- the official client
const client = () => createClient({ url: wsUrl, webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${token}` }, retryAttempts: 0 });
async function ask(c, query, variables) { return new Promise((resolve, reject) => { let last; c.subscribe({ query, variables }, { next: (v) => (last = bare({ payload: v }).payload), error: reject, complete: () => resolve(last) }); }); }
test('official client: query and mutation', async () => {
  const c = client();
  equal(await ask(c, '{ __typename }'), { data: { __typename: 'Query' } });
  const made = await ask(c, 'mutation ($n: String!) { createCustomer(input: { name: $n }) { customer { name } errors { code } } }', { n: 'Over a socket' });
  equal(made, { data: { createCustomer: { customer: { name: 'Over a socket' }, errors: [] } } });
  await c.dispose();
});
test('official client: a timeline is live, and a new connection goes on behind the cursor', async () => {
  const c = client();
  const customer = (await ask(c, 'mutation { createCustomer(input: { name: "Live" }) { customer { id } } }')).data.createCustomer.customer.id;
  const opened = (await ask(c, 'mutation ($c: ID!) { createConversation(input: { name: "Hello", customer: { connect: { id: $c } } }) { conversation { id } errors { message } } }', { c: customer })).data.createConversation;
  const conversation = opened.conversation?.id ?? (() => { throw new Error(JSON.stringify(opened)); })();
  const say = (body) => ask(c, 'mutation ($c: ID!, $b: String!) { createMessage(input: { body: $b, channel: CHAT, direction: IN, conversation: { connect: { id: $c } } }) { message { id } errors { message } cursor } }', { c: conversation, b: body });
  const LINE = 'subscription ($c: ID!, $after: Cursor) { timeline(customer: $c, after: $after) { change cursor entry { __typename ... on Message { body } } } }';
  const watch = (variables, until) => new Promise((resolve, reject) => {
    const got = [];
    const timer = setTimeout(() => reject(new Error(`only ${JSON.stringify(got)}`)), 8000);
    const stop = c.subscribe({ query: LINE, variables }, {
      next: (v) => { if (v.errors) { clearTimeout(timer); reject(new Error(JSON.stringify(v.errors))); return; } got.push(v.data.timeline); if (until(got)) { clearTimeout(timer); stop(); resolve(got); } },
      error: (e) => { clearTimeout(timer); reject(new Error(JSON.stringify(e))); }, complete: () => {},
    });
  });
  const bodies = (got) => got.filter((g) => g.entry?.__typename === 'Message').map((g) => g.entry.body);
  const first = watch({ c: customer }, (got) => bodies(got).length === 2);
  await say('one'); // may come before or behind the subscription's start: so the cursor of a page decides below
  await say('two');
  // Only 'two' is certain when the subscription started late: start anew from the beginning of what we know.
  const start = await ask(c, 'query ($c: ID!) { customer(id: $c) { timeline(first: 1) { cursor } } }', { c: customer });
  first.catch(() => {});
  const second = watch({ c: customer, after: start.data.customer.timeline.cursor }, (got) => bodies(got).length === 2);
  await say('three'); await say('four');
  const got = await second;
  equal(bodies(got), ['three', 'four']);
  const at = got.find((g) => g.entry?.body === 'three').cursor;
  await c.dispose();
  const again = client();
  const resumed = await new Promise((resolve, reject) => {
    const list = [];
    const timer = setTimeout(() => reject(new Error(`resumed: only ${JSON.stringify(list)}`)), 8000);
    const stop = again.subscribe({ query: LINE, variables: { c: customer, after: at } }, { next: (v) => { list.push(v.data.timeline); if (v.data.timeline.change === 'CAUGHT_UP') { clearTimeout(timer); stop(); resolve(list); } }, error: reject, complete: () => {} });
  });
  equal(bodies(resumed), ['four'], 'behind the cursor:');
  await again.dispose();
});
test('official client: a fatal close code is not retried, 4403 is', async () => {
  equal(CloseCode.Forbidden, 4403);
  let tries = 0;
  const c = createClient({ url: wsUrl, webSocketImpl: WebSocket, retryAttempts: 1, retryWait: async () => {}, connectionParams: () => { tries++; return tries === 1 ? { authorization: 'Bearer klio_expired' } : { authorization: `Bearer ${token}` }; } });
  equal(await ask(c, '{ __typename }'), { data: { __typename: 'Query' } });
  equal(tries, 2);
  await c.dispose();
});

const only = process.argv[4];
await Promise.all(cases.filter(([name]) => !only || name.includes(only)).map(async ([name, run]) => {
  try { await within(run(), 20000, 'the case'); passed++; } catch (e) { failures.push(`${name}: ${e.message}`); }
}));
for (const f of failures) console.error(`FAILED ${f}`);
console.log(`graphql-transport-ws: ${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
