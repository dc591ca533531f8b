// A day's work: what a person does with the mouse, the keyboard and patience.

import { assert, ask, end, judge, launch, person, signIn } from './browser.mjs';

const { base, link } = JSON.parse(process.argv[2]);
const browser = await launch();
const { page, context, done } = await person(browser, base);

// Reading alone: no button that does anything.
await page.goto('/connections/lab');
assert.equal(await page.getByRole('button', { name: /Pause/ }).count(), 0);
await page.getByRole('link', { name: 'Sign in' }).last().click();
await page.getByRole('heading', { name: 'Sign in' }).waitFor();
await signIn(page, link);

// Live: a pause elsewhere is seen here, without a move of the mouse.
await page.goto('/');
await page.getByText('everything that changed was taken').waitFor();
await ask('pause');
await page.locator('.card').getByText('Paused', { exact: true }).waitFor();
await judge(page, 'work-paused');
await ask('resume');
await page.locator('.card').getByText('True', { exact: true }).waitFor();

// A search finds while one types, and the address keeps it.
await page.goto('/groups');
await page.getByLabel('Name, id, folder or function').pressSequentially('ps100001');
await page.waitForURL(/q=ps100001/);
await page.getByText('1 found').waitFor();
assert.equal(await page.locator('tbody tr').count(), 1);

// Collections come and go.
await page.goto('/connections/lab/workspace');
await page.getByRole('link', { name: 'Add collections' }).click();
await page.getByLabel('Name, id or folder').fill('PS100003');
await page.getByRole('button', { name: 'Search' }).click();
await page.locator('tbody').getByRole('checkbox').check();
await judge(page, 'work-choose');
await page.getByRole('button', { name: 'Add', exact: true }).click();
await page.getByRole('status').filter({ hasText: 'added' }).waitFor();
await ask('equal PS100000 PS100001 PS100003');
await page.getByLabel('PS100001').check();
await page.getByRole('button', { name: 'Remove what is marked' }).click();
await page.getByRole('status').filter({ hasText: '1 collection are closed' }).waitFor();
await ask('equal PS100000 PS100003');

// A secret: a wrong one is refused and said, the right one taken.
await page.getByRole('link', { name: 'Identity' }).click();
await page.getByRole('button', { name: 'Verify' }).click();
await page.getByRole('status').filter({ hasText: 'accepted' }).waitFor();
await page.getByLabel('New client secret').fill('wrong');
await page.getByRole('button', { name: 'Renew' }).click();
await page.getByRole('alert').filter({ hasText: 'the old one stays' }).waitFor();
await judge(page, 'work-secret-refused');
await page.getByLabel('New client secret').fill(await ask('secret'));
await page.getByLabel('Day on which it ends').fill('2031-05-06');
await page.getByRole('button', { name: 'Renew' }).click();
await page.getByRole('status').filter({ hasText: 'accepted and written' }).waitFor();

// A held removal, decided by keyboard alone.
await ask('hold');
await page.goto('/');
const need = page.getByRole('link', { name: '1 removal waits for a decision' });
await need.waitFor();
await judge(page, 'work-needs-a-person');
await need.focus();
await page.keyboard.press('Enter');
await page.getByRole('heading', { name: 'Held removals' }).waitFor();
await judge(page, 'work-held');
for (let pressed = 0; !/^Approve/.test(await page.evaluate(() => document.activeElement?.textContent ?? '')); pressed++) {
  assert.ok(pressed < 40, 'the button is reached by the tabulator key');
  await page.keyboard.press('Tab');
}
await page.keyboard.press('Enter');
await page.getByRole('status').filter({ hasText: 'Approved' }).waitFor();
await ask('equal PS100000 PS100003');

// A dead letter is looked into and sent again.
await ask('letter');
await page.goto('/dead-letters');
await page.getByText('What it is').first().click();
await page.locator('pre').first().waitFor();
await judge(page, 'work-letter');
await ask('mended');
await page.getByRole('button', { name: 'Send it again' }).first().click();
await page.getByRole('status').filter({ hasText: 'It is sent again' }).waitFor();
await ask('no-letters');

// The process starts anew: the page finds it again by itself, and says so.
await page.goto('/');
await page.getByText('everything that changed was taken').waitFor();
await ask('stop');
await page.getByRole('alert').filter({ hasText: 'may be old' }).waitFor();
await judge(page, 'work-lost');
await ask('start');
await page.getByRole('alert').waitFor({ state: 'hidden' });
await ask('pause');
await page.locator('.card').getByText('Paused', { exact: true }).waitFor();
await ask('resume');
await page.locator('.card').getByText('True', { exact: true }).waitFor();

// The stop ended the session: a form that was filled in meanwhile is kept over the next sign-in.
assert.equal((await context.cookies()).length, 1);
await page.goto('/connections/lab');
await page.getByRole('link', { name: 'Sign in' }).first().waitFor();
await signIn(page, await ask('link'));
await page.goto('/connections/lab');
await page.getByRole('button', { name: /Pause/ }).waitFor();
await context.clearCookies();
await page.getByRole('button', { name: /Pause/ }).click();
await page.getByRole('alert').filter({ hasText: 'What you sent is kept' }).waitFor();
await judge(page, 'work-session-ended');
const beside = await context.newPage();
await signIn(beside, await ask('link'));
await beside.close();
await page.getByRole('button', { name: 'send it again' }).click();
await page.getByRole('heading', { name: 'Send it again?' }).waitFor();
await judge(page, 'work-again');
await page.getByRole('button', { name: 'Send', exact: true }).click();
await page.getByRole('status').filter({ hasText: 'Paused' }).waitFor();
await page.getByRole('button', { name: 'Sign out' }).click();
await page.getByRole('heading', { name: 'Sign in' }).waitFor();
await done();
await end(browser);
