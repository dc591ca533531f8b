// A real Chromium, and what every page must keep: no violation that axe finds, no overflow, no request to
// another host, no shift of what is read.

import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';
import assert from 'node:assert/strict';

const require = createRequire(`${process.env.CMSYNC_NODE_MODULES}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export { assert };
export const SHOTS = process.env.CMSYNC_SHOTS ?? 'target/screenshots';
mkdirSync(SHOTS, { recursive: true });

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CMSYNC_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
}

// What a browser says of answers that are refusals, and htmx of a stream that broke, is no error of ours.
/** A page of somebody with a window of this width; requests to other hosts and errors of scripts fail the test. */
export async function person(browser, base, { scheme = 'light', width = 1440, state, javaScriptEnabled = true, ignoreHTTPSErrors = false, also = [] } = {}) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 }, storageState: state, javaScriptEnabled, ignoreHTTPSErrors, baseURL: base });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const wrong = [];
  // The provider's page would have its letters from elsewhere.
  await page.route('https://fonts.googleapis.com/**', (route) => route.abort());
  also = [...also, ...(also.length ? ['https://fonts.googleapis.com/'] : [])];
  page.on('request', (request) => { if (![base, ...also].some((own) => request.url().startsWith(own))) wrong.push(`asks ${request.url()}`); });
  page.on('pageerror', (error) => wrong.push(`script: ${error}`));
  page.on('console', (message) => { if (message.type() === 'error' && !/Failed to load resource|ERR_|^\[object Event\]$/.test(message.text())) wrong.push(`console: ${message.text()}`); });
  await page.addInitScript(() => {
    globalThis.shifted = 0;
    new PerformanceObserver((list) => { for (const one of list.getEntries()) if (!one.hadRecentInput) globalThis.shifted += one.value; })
      .observe({ type: 'layout-shift', buffered: true });
  });
  return { page, context, wrong, done: async () => { assert.deepEqual(wrong, []); await context.close(); } };
}

/** Signs in by a link of `cmsync console`. */
export async function signIn(page, link) {
  await page.goto(link);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
}

/** What must be so of every page, in every window. */
export async function judge(page, name) {
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: false });
  const { wide, shifted } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    shifted: globalThis.shifted ?? 0,
  }));
  assert.equal(wide, false, `${name} is wider than its window`);
  assert.ok(shifted < 0.01, `${name} shifts by ${shifted}`);
  // The policy of the page lets no other script in: axe is put in by the debugger, beside it.
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send('Page.getFrameTree');
  const { executionContextId } = await session.send('Page.createIsolatedWorld', { frameId: frameTree.frame.id, worldName: 'axe' });
  await session.send('Runtime.evaluate', { expression: axe, contextId: executionContextId });
  const { result } = await session.send('Runtime.evaluate', {
    expression: `axe.run().then((found) => JSON.stringify(found.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])))`,
    contextId: executionContextId, awaitPromise: true, returnByValue: true,
  });
  await session.detach();
  assert.deepEqual(JSON.parse(result.value), [], `${name}: axe`);
}

// A scenario that hangs says so, and whoever runs it goes on.
setTimeout(() => { console.error('it took longer than five minutes'); process.exit(1); }, 300_000).unref();

/** Ends the scenario: what waits for further answers ends with it. */
export async function end(browser) {
  await browser.close();
  process.exit(0);
}

/** Asks whoever runs the lab to do something, and waits until it is done. */
export async function ask(text) {
  process.stdout.write(`ask ${text}\n`);
  const { default: lines } = await import('node:readline');
  globalThis.answers ??= lines.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { value } = await globalThis.answers.next();
  return value;
}
