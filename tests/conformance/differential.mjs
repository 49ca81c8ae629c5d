// Runs generated and hand-written documents through Klio and through the reference implementation (npm `graphql`) over the
// same data, and compares the answers to the byte (after parsing), key order included; and compares what both refuse.
//
//   node differential.mjs URL TOKEN SEED COUNT      (the token's role: admin, of an org with the objects that the test made)
//
// The reference reads its data once through Klio by the plainest queries there are (every object, every leaf), so what is
// compared is selection, merging, fragments, directives, type conditions, coercion, null and validation, not storage.
import {
  buildSchema, parse, validate, execute, print, Kind, isObjectType, isInterfaceType, isUnionType, isLeafType, isNonNullType, isListType,
  getNamedType, getNullableType, specifiedRules,
} from 'graphql';

const [url, token, seedText, countText] = process.argv.slice(2);
let seed = Number(seedText ?? 1);
const count = Number(countText ?? 300);
const random = () => { // mulberry32
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const chance = (p) => random() < p;
const pick = (list) => list[Math.floor(random() * list.length)];

async function ask(query, variables, operationName) {
  const answer = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables, operationName }),
  });
  return { status: answer.status, body: await answer.json() };
}

const sdl = await (await fetch(`${url}/schema.graphql`, { headers: { authorization: `Bearer ${token}` } })).text();
const schema = buildSchema(sdl);
const isObject = (type) => isObjectType(type) && type.getInterfaces().some((i) => i.name === 'Object');
const isConnection = (type) => isObjectType(type) && type.name.endsWith('Connection') && 'nodes' in type.getFields() && isObject(getNamedType(type.getFields().nodes.type));
const noArgs = (field) => field.args.every((a) => !isNonNullType(a.type));
const depthLimit = 3;

// Every leaf of a value type (Money, Actor, contact lists), as a selection.
function leaves(type, depth = 0) {
  const fields = Object.values(type.getFields()).filter(noArgs).flatMap((f) => {
    const named = getNamedType(f.type);
    if (isLeafType(named)) return [f.name];
    if (depth < depthLimit && isObjectType(named) && !isObject(named) && !isConnection(named)) return [`${f.name} { ${leaves(named, depth + 1)} }`];
    return [];
  });
  return ['__typename', ...fields].join(' ');
}

// Fields of an object whose values differ from request to request or that are not plain data.
const skipped = new Set(['timeline', 'klass']);

const store = new Map();
const plurals = Object.values(schema.getQueryType().getFields()).filter((f) => isConnection(getNamedType(f.type)));
const rootLists = new Map();
for (const field of plurals) {
  const type = getNamedType(getNamedType(field.type).getFields().nodes.type);
  const selections = ['__typename'];
  for (const f of Object.values(type.getFields())) {
    if (skipped.has(f.name)) continue;
    const named = getNamedType(f.type);
    if (isLeafType(named)) selections.push(f.name);
    else if (isObject(named) || isInterfaceType(named) || isUnionType(named)) { if (noArgs(f)) selections.push(`${f.name} { ${isUnionType(named) ? '__typename ... on Node { id }' : 'id'} }`); }
    else if (isConnection(named)) selections.push(`${f.name}(first: 100) { nodes { id } }`);
    else if (isObjectType(named) && noArgs(f)) selections.push(`${f.name} { ${leaves(named)} }`);
  }
  const ids = [];
  for (const s of chunks(selections.slice(1), 12)) {
    const { body } = await ask(`{ list: ${field.name}(first: 40) { nodes { __typename id ${s.filter((x) => x !== 'id').join(' ')} } } }`);
    if (body.errors) fail(`the plain query of ${field.name} failed: ${JSON.stringify(body.errors).slice(0, 800)}`);
    for (const node of body.data.list.nodes) {
      if (!store.has(node.id)) { store.set(node.id, {}); }
      if (!ids.includes(node.id)) ids.push(node.id);
      Object.assign(store.get(node.id), node);
    }
  }
  rootLists.set(field.name, ids);
}
function chunks(list, n) { const out = []; for (let i = 0; i < list.length; i += n) out.push(list.slice(i, i + n)); return out.length ? out : [[]]; }
function fail(message) { console.error(`differential: ${message}`); process.exit(1); }
if (store.size < 10) fail(`only ${store.size} objects to compare with`);

// The reference's resolvers: objects by id, connections as slices.
const object = (id) => { const found = store.get(id); return found ?? null; };
const connection = (ids, args) => {
  const n = args.first ?? 20;
  const page = ids.slice(0, n);
  return {
    nodes: page.map(object), edges: page.map((id) => ({ node: object(id) })), totalCount: ids.length,
    pageInfo: { hasNextPage: ids.length > n, hasPreviousPage: false },
  };
};
function fieldResolver(source, args, _context, info) {
  const value = source?.[info.fieldName];
  const named = getNamedType(info.returnType);
  if (info.parentType === schema.getQueryType()) {
    if (rootLists.has(info.fieldName)) return connection(rootLists.get(info.fieldName), args);
    if (info.fieldName === 'node') return object(args.id);
    if (isObject(named)) { const found = object(args.id); return found && found.__typename === named.name ? found : null; }
  }
  if (isConnection(named) && value?.nodes) return connection(value.nodes.map((n) => n.id), args);
  if ((isObject(named) || isInterfaceType(named) || isUnionType(named)) && value?.id) return object(value.id);
  return value;
}
// Stored leaves are already as Klio answers them: the reference passes them on.
for (const type of Object.values(schema.getTypeMap())) if (isLeafType(type) && !type.name.startsWith('__')) type.serialize = (v) => v;

// ---- generated documents
function generate() {
  const fragments = [], variables = {}, declared = [];
  const flag = () => { const name = `b${declared.length}`; declared.push(`$${name}: Boolean!`); variables[name] = chance(0.5); return `$${name}`; };
  const number = () => { if (chance(0.5)) return String(1 + Math.floor(random() * 5)); const name = `n${declared.length}`; declared.push(`$${name}: Int${chance(0.3) ? ' = 3' : ''}`); if (chance(0.8)) variables[name] = 1 + Math.floor(random() * 5); return `$${name}`; };
  const directive = () => (chance(0.12) ? ` @${pick(['include', 'skip'])}(if: ${chance(0.3) ? pick(['true', 'false']) : flag()})` : '');
  let alias = 0;
  function selection(type, depth) {
    const fields = Object.values(type.getFields?.() ?? {}).filter((f) => {
      if (skipped.has(f.name) || f.name === 'cursor' || f.name === 'aggregate' || f.name === 'groups' || f.name === 'startCursor' || f.name === 'endCursor') return false;
      const named = getNamedType(f.type);
      return isLeafType(named) ? noArgs(f) : depth > 0 && (isConnection(named) || noArgs(f));
    });
    const out = ['__typename'];
    const n = 1 + Math.floor(random() * 5);
    for (let i = 0; i < n && fields.length; i++) {
      const f = pick(fields), named = getNamedType(f.type);
      const name = chance(0.25) ? `a${alias++}: ${f.name}` : f.name;
      // Arguments must agree for equal response names: only aliased connections take one.
      const args = isConnection(named) && name !== f.name ? `(first: ${number()})` : '';
      out.push(`${name}${args}${directive()}${isLeafType(named) ? '' : ` ${selection(named, depth - 1)}`}`);
    }
    if (chance(0.3) && !isUnionType(type)) out.push(`... ${chance(0.6) ? `on ${type.name} ` : ''}${directive()} ${selection(type, depth - 1)}`);
    if (isUnionType(type) || isInterfaceType(type)) {
      for (const member of schema.getPossibleTypes(type)) if (chance(0.4)) out.push(`... on ${member.name}${directive()} ${selection(member, depth - 1)}`);
    }
    if (chance(0.2) && !isUnionType(type) && depth > 0) {
      const name = `F${fragments.length}`;
      fragments.push(null);
      fragments[Number(name.slice(1))] = `fragment ${name} on ${type.name} ${selection(type, depth - 1)}`;
      out.push(`...${name}${directive()}`);
    }
    return `{ ${out.join(' ')} }`;
  }
  const roots = [];
  for (let i = 0; i <= Math.floor(random() * 2); i++) {
    const id = pick([...store.keys()]);
    const type = schema.getType(store.get(id).__typename);
    const one = Object.values(schema.getQueryType().getFields()).find((f) => getNamedType(f.type) === type && f.args.some((a) => a.name === 'id'));
    const kind = random();
    if (kind < 0.4 && one) roots.push(`r${i}: ${one.name}(id: "${id}") ${selection(type, depthLimit)}`);
    else if (kind < 0.55) roots.push(`r${i}: node(id: "${id}") ${selection(schema.getType('Node'), depthLimit)}`);
    else { const list = pick(plurals); roots.push(`r${i}: ${list.name}(first: ${number()}) ${selection(getNamedType(list.type), depthLimit)}`); }
  }
  const head = declared.length ? `query Q(${declared.join(', ')})` : 'query Q';
  return { text: `${head} { ${roots.join(' ')} }\n${fragments.join('\n')}`, variables };
}

let compared = 0, refused = 0;
const bad = [];
for (let i = 0; i < count; i++) {
  const { text, variables } = generate();
  let document;
  try { document = parse(text); } catch (e) { fail(`the generator wrote nonsense: ${e.message}\n${text}`); }
  const errors = validate(schema, document, specifiedRules);
  const ours = await ask(text, variables);
  if (errors.length) {
    refused++;
    if (ours.body.data !== undefined) bad.push(`accepted what the reference refuses (${errors[0].message})\n${print(document)}`);
    continue;
  }
  if (ours.body.errors?.some((e) => e.extensions?.code === 'TOO_COSTLY')) continue;
  const theirs = JSON.parse(JSON.stringify(await execute({ schema, document, variableValues: variables, fieldResolver, typeResolver: (v) => v.__typename })));
  compared++;
  if (JSON.stringify(ours.body.data) !== JSON.stringify(theirs.data)) {
    bad.push(`differs\n${print(document)}\nvariables ${JSON.stringify(variables)}\nours   ${JSON.stringify(ours.body).slice(0, 1500)}\ntheirs ${JSON.stringify(theirs).slice(0, 1500)}`);
  }
}

// ---- what must be refused, and what must not: the reference decides
const id = [...store.keys()].find((k) => store.get(k).__typename === 'Customer') ?? fail('there is no customer');
const documents = [
  '{ nope }', '{ customers }', `{ customer(id: "${id}") }`, `{ customer(id: "${id}") { id { x } } }`, '{ customers { nodes { id nope } } }',
  `{ customer(id: "${id}") { id: name id } }`, `{ customer(id: "${id}") { name name } }`, `{ customer(id: "${id}") { a: conversations(first: 1) { totalCount } a: conversations(first: 2) { totalCount } } }`,
  `{ customer(id: "${id}") { c: company { name } c: conversations { totalCount } } }`, `{ customer(id: "${id}") { company { x: name } company { x: id } } }`,
  `{ node(id: "${id}") { ... on Customer { x: name } ... on Company { x: version } } }`, `{ node(id: "${id}") { ... on Customer { x: name } ... on Company { x: name } } }`,
  `{ node(id: "${id}") { ... on Money { amount } } }`, `{ node(id: "${id}") { ... on Nope { x } } }`, `{ node(id: "${id}") { name } }`,
  '{ node }', '{ node(id: 1.5) { id } }', '{ node(id: "x", extra: 1) { id } }', '{ customers(first: "ten") { totalCount } }', '{ customers(first: 99999999999) { totalCount } }',
  '{ customers(first: 1.5) { totalCount } }', '{ customers(filter: { nope: 1 }) { totalCount } }', '{ customers(filter: { name: { eq: 1 } }) { totalCount } }',
  '{ customers(filter: { name: { eq: "a", eq: "b" } }) { totalCount } }', '{ customers(first: 1, first: 2) { totalCount } }', '{ customers(filter: [{}, 1]) { totalCount } }',
  'query ($x: Int) { customers(first: $y) { totalCount } }', 'query ($x: Int) { customers { totalCount } }', 'query ($x: Int, $x: Int) { customers(first: $x) { totalCount } }',
  'query ($x: String) { customers(first: $x) { totalCount } }', 'query ($x: ID) { node(id: $x) { id } }', 'query ($x: ID = "a") { node(id: $x) { id } }', 'query ($x: Customer) { node(id: $x) { id } }',
  'query ($x: Nope) { node(id: $x) { id } }', 'query ($x: Int = "a") { customers(first: $x) { totalCount } }', 'query ($x: [Int]) { customers(first: $x) { totalCount } }',
  '{ ...F }', 'fragment F on Query { __typename } { __typename }', '{ ...F } fragment F on Query { ...F }', '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }',
  '{ ...F } fragment F on Query { __typename } fragment F on Query { __typename }', '{ ...F } fragment F on Int { x }', '{ ...F } fragment F on Customer { id }', '{ ...F } fragment F on Query { __typename }',
  'query A { __typename } query A { __typename }', '{ __typename } query A { __typename }', '{ __typename @nope }', '{ __typename @include }', '{ __typename @include(if: "x") }', '{ __typename @include(if: true) @include(if: true) }',
  'query @include(if: true) { __typename }', '{ __typename @skip(if: $x) }', 'query ($x: Boolean) { __typename @skip(if: $x) }', 'query ($x: Boolean = false) { __typename @skip(if: $x) }',
  '{ customers(orderBy: [{ nope: ASC }]) { totalCount } }', '{ customers(orderBy: [{ name: UP }]) { totalCount } }', '{ customers(orderBy: { name: ASC }) { totalCount } }', '{ customers(orderBy: [{ name: "ASC" }]) { totalCount } }',
  'mutation { createCustomer { customer { id } } }', 'mutation { createCustomer(input: null) { customer { id } } }', 'mutation { nope }',
  'subscription { klassChanged { change } customerChanged { change } }', 'subscription { ...F } fragment F on Subscription { klassChanged { change } customerChanged { change } }', 'subscription { __typename }',
  'type X { a: Int }', 'query { __typename } type X { a: Int }', '{ __typename', '{ customers(first: ) { totalCount } }', '', '{ }', '{ customers { ... { } } }',
  '{ __schema { types { name } } }', '{ __type(name: "Customer") { name fields { name } } }', '{ __type { name } }', '{ customers { nodes { ... @include(if: false) { id } } } }',
  '{ customers(filter: { and: { name: { isNull: false } } }) { totalCount } }', '{ customers(filter: { name: { in: "a" } }) { totalCount } }', '{ customers(filter: { name: { in: [null] } }) { totalCount } }',
  'query ($f: CustomerFilter) { customers(filter: $f) { totalCount } }', 'query ($f: CustomerFilter!) { customers(filter: $f) { totalCount } }', 'query ($f: CompanyFilter) { customers(filter: $f) { totalCount } }',
  'query ($o: [CustomerOrder!]) { customers(orderBy: $o) { totalCount } }', 'query ($o: CustomerOrder!) { customers(orderBy: [$o]) { totalCount } }', 'query ($o: CustomerOrder) { customers(orderBy: [$o]) { totalCount } }',
];
for (const text of documents) {
  let reason = null;
  try { const errors = validate(schema, parse(text), specifiedRules); if (errors.length) reason = errors[0].message; } catch (e) { reason = e.message; }
  const ours = await ask(text, {});
  const requestError = ours.body.data === undefined && Array.isArray(ours.body.errors);
  // A variable without a value may fail in either before execution; what is compared is validation, which such documents pass.
  const isSubscription = text.startsWith('subscription');
  if (reason && !requestError) bad.push(`accepted what the reference refuses: ${text}\n  ${reason}\n  ours ${ours.status} ${JSON.stringify(ours.body).slice(0, 300)}`);
  if (!reason && requestError && !isSubscription && !/\$\w+: \w+!/.test(text)) bad.push(`refused what the reference accepts: ${text}\n  ours ${ours.status} ${JSON.stringify(ours.body).slice(0, 300)}`);
}

for (const text of bad.slice(0, 10)) console.error(`\n--- ${text}`);
console.log(`differential: ${compared} documents answered alike or not, ${refused} generated ones refused by the reference, ${documents.length} by hand, ${bad.length} differences`);
process.exit(bad.length || compared < count / 3 ? 1 : 0);
