// Subscriptions through Apollo Client: over a WebSocket link, and as multipart responses of its HTTP link
// (https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol).
//
//   node apollo.mjs URL TOKEN        (a token that may write)
import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

globalThis.WebSocket ??= WebSocket; // Apollo's link looks for the browser's
const [url, token] = process.argv.slice(2);
const endpoint = url + '/graphql';
const AUTH = { authorization: `Bearer ${token}` };
let passed = 0;
const failures = [];

function equal(actual, expected, what = '') {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what} expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}
async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}
const HTTP = () => new HttpLink({ uri: endpoint, headers: AUTH });
const LINKS = {
  multipart: HTTP,
  websocket: () => new GraphQLWsLink(createClient({ url: endpoint.replace(/^http/, 'ws'), webSocketImpl: WebSocket, connectionParams: AUTH, retryAttempts: 0 })),
};
const LIVE = gql`subscription Live($after: Cursor) { customerChanged(after: $after) { change cursor customer { id name } } }`;
const CREATE = gql`mutation Create($name: String!) { createCustomer(input: { name: $name }) { customer { id name } errors { message } } }`;

const cases = [];
for (const [way, link] of Object.entries(LINKS)) {
  const client = () => new ApolloClient({ link: link(), cache: new InMemoryCache() });
  cases.push([`${way}: query and mutation`, async () => {
    const c = client();
    const made = await c.mutate({ mutation: CREATE, variables: { name: `by ${way}` } });
    equal(made.data.createCustomer.customer.name, `by ${way}`);
    const found = await c.query({ query: gql`{ customers(first: 1) { totalCount } }` });
    if (!(found.data.customers.totalCount > 0)) throw new Error(JSON.stringify(found));
    c.stop();
  }]);
  cases.push([`${way}: live, and a second subscription goes on behind the first one's cursor`, async () => {
    const c = client();
    const writer = new ApolloClient({ link: HTTP(), cache: new InMemoryCache() });
    const create = async (n) => writer.mutate({ mutation: CREATE, variables: { name: `${way} ${n}` } });
    const watch = (variables, until, begun) => new Promise((resolve, reject) => {
      const names = [];
      const s = c.subscribe({ query: LIVE, variables }).subscribe({
        next: ({ data, error }) => {
          if (error) return reject(error);
          const { change, cursor, customer } = data.customerChanged;
          if (change === 'CAUGHT_UP') begun?.();
          if (change === 'ADDED' && customer.name.startsWith(way)) names.push([customer.name.slice(way.length + 1), cursor]);
          if (names.length === until) { s.unsubscribe(); resolve(names); }
        },
        error: reject, complete: () => reject(new Error('complete')),
      });
    });
    let first;
    await within(new Promise((begun) => { first = watch({}, 2, begun); first.catch(() => {}); }), 8000, 'the beginning');
    for (const n of [1, 2, 3]) await create(n);
    const seen = await within(first, 8000, 'two changes');
    equal(seen.map(([name]) => name), ['1', '2']);
    const rest = await within(watch({ after: seen[0][1] }, 2), 8000, 'two more');
    equal(rest.map(([name]) => name), ['2', '3']);
    c.stop();
  }]);
  cases.push([`${way}: what is wrong is told as an error`, async () => {
    const c = client();
    const error = await within(new Promise((resolve, reject) => c.subscribe({ query: gql`subscription { customerChanged(after: "nonsense") { change } }` }).subscribe({
      next: (v) => (v.error ? resolve(v.error) : reject(new Error(JSON.stringify(v)))), error: resolve, complete: () => reject(new Error('complete')),
    })), 8000, 'an error');
    if (!CombinedGraphQLErrors.is(error)) throw new Error(`not a GraphQL error: ${error}`);
    equal(error.errors[0].extensions.code, 'BAD_INPUT');
    c.stop();
  }]);
}
cases.push(['multipart: the response, byte by byte', async () => {
  const stop = new AbortController();
  const r = await fetch(endpoint, {
    method: 'POST', signal: stop.signal,
    headers: { ...AUTH, 'content-type': 'application/json', accept: 'multipart/mixed;subscriptionSpec=1.0, application/json' },
    body: JSON.stringify({ query: 'subscription { customerChanged { change } }' }),
  });
  equal([r.status, r.headers.get('content-type'), r.headers.get('content-encoding')], [200, 'multipart/mixed;boundary="graphql";subscriptionSpec="1.0"', null]);
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of r.body) { text += decoder.decode(chunk); if (text.endsWith('}\r\n--graphql')) break; }
  const head = '\r\nContent-Type: application/json\r\n\r\n';
  // Other cases' changes may follow.
  const first = `--graphql${head}{"payload":{"data":{"customerChanged":{"change":"CAUGHT_UP"}}}}\r\n--graphql`;
  equal(text.slice(0, first.length), first);
  stop.abort();
}]);
cases.push(['multipart: heartbeats', async () => {
  const stop = new AbortController();
  const r = await fetch(endpoint, {
    method: 'POST', signal: stop.signal,
    headers: { ...AUTH, 'content-type': 'application/json', accept: 'multipart/mixed;subscriptionSpec=1.0, application/json' },
    body: JSON.stringify({ query: 'subscription { klassChanged { change } }' }),
  });
  let text = '';
  const decoder = new TextDecoder();
  await within((async () => { for await (const chunk of r.body) { text += decoder.decode(chunk); if (text.includes('\r\n\r\n{}\r\n--graphql')) break; } })(), 8000, 'a heartbeat');
  stop.abort();
}]);

await Promise.all(cases.map(async ([name, run]) => {
  try { await within(run(), 20000, 'the case'); passed++; } catch (e) { failures.push(`${name}: ${e.message}`); }
}));
for (const f of failures) console.error(`FAILED ${f}`);
console.log(`Apollo Client: ${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
