// Every page, by day and by night, on a desk and on a phone, with and without scripts.

import { assert, end, judge, launch, person, signIn } from './browser.mjs';

const { base, link } = JSON.parse(process.argv[2]);
const PAGES = {
  overview: '/', connection: '/connections/lab', identity: '/connections/lab/identity', workspace: '/connections/lab/workspace',
  choose: '/connections/lab/collections', groups: '/groups', group: '/groups/lab/PS100003', computers: '/computers/lab',
  removals: '/removals', letters: '/dead-letters', 'sign-in': '/sign-in',
  activity: '/activity', plots: '/plots', 'plots-of-one': '/plots?connection=lab',
};
const browser = await launch();
const first = await person(browser, base);

// The first visit, with nothing kept from another.
const bodies = [];
const weigh = (response) => { if (!response.url().endsWith('/events')) bodies.push(response.body()); };
first.page.on('response', weigh);
await first.page.goto('/', { waitUntil: 'load' });
first.page.off('response', weigh);
const weight = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
assert.ok(weight > 10_000 && weight < 200_000, `the overview weighs ${weight} bytes`);
await signIn(first.page, link);
const state = await first.context.storageState();

await first.page.goto('/groups/lab/PS100003');
PAGES.computer = await first.page.locator('tbody tr a').first().getAttribute('href');
PAGES.history = '/groups/lab/PS100003/history';
PAGES['history-of-computer'] = `${PAGES.computer}/history`;
await first.done();

for (const [scheme, width] of [['light', 1440], ['dark', 1440], ['light', 360], ['dark', 360]]) {
  const { page, done } = await person(browser, base, { scheme, width, state });
  for (const [name, path] of Object.entries(PAGES)) {
    const response = await page.goto(path);
    assert.equal(response.status(), 200, path);
    if (name.startsWith('plots')) {
      // Drawn from what was sampled, and said in numbers too.
      await page.locator('figure').nth(3).locator('canvas').waitFor();
      await page.locator('#plot-memory, #plot-members').locator('tbody td').first().filter({ hasText: /\d/ }).waitFor();
    }
    if (name === 'overview' && width > 1000) {
      // From the site to the workspace, side by side.
      const tops = await page.locator('.card .way li').evaluateAll((steps) => steps.map((step) => step.getBoundingClientRect().top));
      assert.deepEqual(new Set(tops).size, 1, `${tops}`);
    }
    await judge(page, `${name}-${scheme}-${width}`);
  }
  await done();
}

// Reading needs no script.
const plain = await person(browser, base, { javaScriptEnabled: false, state });
for (const path of Object.values(PAGES)) {
  await plain.page.goto(path);
  assert.ok((await plain.page.locator('h1').textContent()).length > 0, path);
}
await plain.page.goto('/groups');
await plain.page.getByLabel('Name, id, folder or function').fill('PS100003');
await plain.page.getByRole('button', { name: 'Search' }).click();
assert.equal(await plain.page.locator('tbody tr').count(), 1);
await plain.page.getByRole('link', { name: 'Members' }).click();
assert.match(plain.page.url(), /q=PS100003/, 'a search keeps its words when it is sorted');
await plain.done();
await end(browser);
