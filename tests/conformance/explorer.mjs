// The explorer at /, as a person uses it, in a real browser: the token's field, a query, a subscription, and nothing from
// another host.
//
//   node explorer.mjs URL TOKEN        (the explorer must be built into klio: api/graphiql)
import { chromium } from 'playwright-core';

const [url, token, picture] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
const wrong = [];
// The editor gives up work that was overtaken (a hint for text that has changed since) by a promise that is refused so; nobody waits for it.
const overtaken = (error) => error.message === 'Canceled' || error.message === 'Canceled: Canceled';
page.on('pageerror', (error) => { if (!overtaken(error)) wrong.push(`page: ${error.message}`); });
page.on('request', (request) => { if (!request.url().startsWith(url) && /^https?:/.test(request.url())) wrong.push(`asked another host: ${request.url()}`); });
page.on('console', (message) => { if (message.type() === 'error' && !/401/.test(message.text())) wrong.push(`console: ${message.text()}`); });

const answer = async () => (await page.locator('.graphiql-response .view-lines').innerText()).replace(/\u00a0/g, ' ');
async function until(what, condition) {
  for (let i = 0; i < 200; i++) {
    if (await condition()) return;
    await page.waitForTimeout(50);
  }
  throw new Error(`never came: ${what}\nlast answer: ${await answer().catch(() => '(none)')}`);
}
async function type(text) {
  await page.locator('.graphiql-query-editor .view-lines').click();
  await page.keyboard.press('Control+A');
  // As a paste: typed characters would be completed by the editor.
  await page.keyboard.insertText(text);
  await page.waitForTimeout(300);
  await page.keyboard.press('Control+Enter');
}
const ask = (query) => fetch(`${url}/graphql`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` }, body: JSON.stringify({ query }) }).then((r) => r.json());

try {
  await page.goto(url);
  await page.locator('.klio-token input').fill(token);
  await page.locator('.klio-token input').press('Enter');
  await until('the editor', async () => page.locator('.graphiql-query-editor .view-lines').isVisible());
  await type('query Mine { __typename customers(first: 1) { totalCount } }');
  await until('a query’s answer', async () => /"totalCount": \d+/.test(await answer()));
  // The token is still there after a reload.
  await page.reload();
  await until('the remembered token', async () => (await page.locator('.klio-token input').inputValue()) === token);
  await until('the editor again', async () => page.locator('.graphiql-query-editor .view-lines').isVisible());
  await type('subscription Live { customerChanged { change id customer { name } } }');
  await until('the subscription', async () => /CAUGHT_UP/.test(await answer()));
  const made = await ask('mutation { createCustomer(input: { name: "Seen live" }) { customer { id } errors { message } } }');
  const id = made.data?.createCustomer?.customer?.id;
  if (!id) throw new Error(JSON.stringify(made));
  await until('the change', async () => (await answer()).includes('Seen live'));
  if (picture) await page.screenshot({ path: picture });
  if (wrong.length) throw new Error(wrong.join('\n'));
  console.log('explorer: 4 passed, 0 failed');
} catch (error) {
  if (picture) await page.screenshot({ path: picture }).catch(() => {});
  console.error(`FAILED ${error.message}\n${wrong.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
