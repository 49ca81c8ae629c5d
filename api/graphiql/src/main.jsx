// The explorer, built: GraphiQL with its workers, no other host needed.
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { GraphiQL } from 'graphiql';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { createClient } from 'graphql-ws';
import 'graphiql/style.css';
import './klio.css';
import { FIRST_QUERY, fetcher, tokenField } from './klio.js';

const WORKERS = { json: 'json.worker.js', graphql: 'graphql.worker.js' };
globalThis.MonacoEnvironment = {
  getWorker: (_, label) => new Worker(`/explorer/${WORKERS[label] ?? 'editor.worker.js'}`),
};

const root = createRoot(document.getElementById('graphiql'));
let times = 0;
// A new key makes GraphiQL start anew, so that it reads the schema of the new token's org.
const show = () => root.render(createElement(GraphiQL, {
  key: times++,
  fetcher: fetcher(createGraphiQLFetcher, createClient),
  defaultQuery: FIRST_QUERY,
}));
tokenField(show);
show();
