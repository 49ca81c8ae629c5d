// The audits of GraphQL over HTTP (npm `graphql-http`), the SHOULDs and MAYs too: every one must pass.
//
//   node http/audit.mjs URL TOKEN
import { serverAudits } from 'graphql-http';

const [url, token] = process.argv.slice(2);
const audits = serverAudits({
  url: `${url}/graphql`,
  // Every request is someone's; the audits know nothing of that.
  fetchFn: (input, init = {}) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});
let passed = 0;
const failures = [];
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status === 'ok') passed++;
  else failures.push(`${audit.id} ${audit.name}: ${result.reason}`);
}
if (audits.length < 61) failures.push(`there are only ${audits.length} audits`);
for (const failure of failures) console.error(`FAILED ${failure}`);
console.log(`graphql-http: ${passed} passed, ${failures.length} failed`);
process.exit(failures.length ? 1 : 0);
