// From elsewhere, over TLS: people sign in at an identity provider or with a password, and do what their
// roles let them; forged answers of a provider sign nobody in.

import { assert, end, judge, launch, person } from './browser.mjs';

const { base, provider } = JSON.parse(process.argv[2]);
const browser = await launch();
const away = { ignoreHTTPSErrors: true, also: [provider] };

/** Signs in at the provider, as far as the page that one wanted. */
async function signInElsewhere(page, name, wanted = '/', atProvider = async () => {}) {
  await page.goto(wanted);
  await page.getByRole('link', { name: `Sign in at ${new URL(provider).hostname}` }).click();
  await page.waitForURL((url) => url.href.startsWith(provider));
  await atProvider();
  await page.locator('[name=login]').fill(name);
  await page.locator('[name=password]').fill('any');
  await page.locator('button[type=submit]').click();
  // The application is seen for the first time.
  await page.locator('button[type=submit]').filter({ hasText: 'Continue' }).click();
  await page.waitForURL((url) => url.href.startsWith(base));
}

// Nothing is shown before; the sign-in is whole in every window.
for (const [scheme, width] of [['light', 1440], ['dark', 360]]) {
  const { page, done } = await person(browser, base, { scheme, width, ...away });
  for (const path of ['/', '/groups', '/connections/lab/workspace', '/dead-letters']) {
    await page.goto(path);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  }
  await judge(page, `sign-in-elsewhere-${scheme}-${width}`);
  await done();
}

// An operator, led back to the page that was wanted, gives an order.
const alice = await person(browser, base, away);
const answers = [];
const notes = [];
alice.page.on('request', (request) => { if (request.url().includes('/sign-in/openid/done')) answers.push(request.url()); });
const keep = async () => { notes.push(...(await alice.context.cookies(base)).filter((cookie) => cookie.name.startsWith('__Host-cmsync-sign-in'))); };
await signInElsewhere(alice.page, 'alice', '/connections/lab', keep);
assert.equal(new URL(alice.page.url()).pathname, '/connections/lab');
await alice.page.getByText('alice@contoso.com').waitFor();
await alice.page.getByRole('button', { name: 'Pause' }).click();
await alice.page.getByRole('button', { name: 'Read the site again' }).click();
await alice.page.getByRole('button', { name: 'Pause' }).waitFor();
const cookies = await alice.context.cookies(base);
const session = cookies.find((cookie) => cookie.name === '__Host-cmsync');
assert.ok(session.httpOnly && session.secure && session.sameSite === 'Lax', JSON.stringify(session));
assert.ok(!cookies.some((cookie) => cookie.name.startsWith('__Host-cmsync-sign-in')), 'the note of a sign-in is gone');

// A reader sees all and changes nothing, in the page and beside it.
const bob = await person(browser, base, away);
await signInElsewhere(bob.page, 'bob', '/connections/lab');
await bob.page.getByText('bob@contoso.com').waitFor();
assert.equal(await bob.page.getByRole('button', { name: /Pause|Send|Read/ }).count(), 0);
await judge(bob.page, 'reader-elsewhere');
const csrf = await bob.page.locator('input[name=csrf]').first().getAttribute('value');
const order = { form: { csrf, order: 'pause' }, headers: { origin: base } };
assert.equal((await bob.context.request.post(`${base}/connections/lab`, order)).status(), 403);

// Whoever has no role of the application is told so; whoever gives up at the provider too.
const carol = await person(browser, base, away);
await signInElsewhere(carol.page, 'carol');
await carol.page.getByRole('alert').filter({ hasText: 'carol@contoso.com has neither of the roles' }).waitFor();
await judge(carol.page, 'without-a-role');
await carol.page.goto('/groups');
await carol.page.getByRole('heading', { name: 'Sign in' }).waitFor();
// The provider knows carol still: another account is asked for.
await carol.page.getByRole('link', { name: 'with another account' }).click();
await carol.page.locator('[name=login]').waitFor();
await carol.context.clearCookies();
await carol.page.goto('/');
await carol.page.getByRole('link', { name: /Sign in at/ }).click();
await carol.page.getByRole('link', { name: /Cancel/ }).click();
await carol.page.getByRole('alert').filter({ hasText: 'access_denied' }).waitFor();
await carol.done();

// A password of the console signs in beside it, and a sign-out is one.
const withPassword = async () => {
  const dave = await person(browser, base, away);
  await dave.page.goto('/');
  await dave.page.getByLabel('Name').fill('dave');
  await dave.page.getByLabel('Password').fill('correct horse');
  await dave.page.getByRole('button', { name: 'Sign in' }).click();
  await dave.page.getByRole('button', { name: 'Sign out' }).click();
  await dave.page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await dave.done();
};
await withPassword();

// An answer of a provider is of one sign-in, one browser, and good once.
const [used] = answers;
const mallory = await person(browser, base, away);
const forged = async (context, address) => (await context.request.get(address, { maxRedirects: 0 })).status();
assert.equal(await forged(mallory.context, used), 400, 'in another browser');
assert.equal(await forged(alice.context, used), 400, 'a second time');
// The same by whoever kept the note.
await mallory.context.addCookies(notes);
assert.equal(await forged(mallory.context, used), 403, 'a second time, with its note');
const again = async (next = '/') => {
  const begun = await mallory.context.request.get(`${base}/sign-in/openid?next=${encodeURIComponent(next)}`, { maxRedirects: 0 });
  const asked = new URL(begun.headers().location);
  assert.equal(asked.origin, provider);
  assert.equal(asked.searchParams.get('code_challenge_method'), 'S256');
  return asked.searchParams.get('state');
};
const back = (change) => {
  const url = new URL(used);
  for (const [name, value] of Object.entries(change)) url.searchParams.set(name, value);
  return url.href;
};
assert.equal(await forged(mallory.context, back({ state: `${await again()}x` })), 400, 'of another state');
assert.equal(await forged(mallory.context, back({ state: await again(), iss: 'https://evil.example' })), 400, 'of another provider');
const state = await again('//evil.example/');
assert.equal(await forged(mallory.context, back({ state })), 403, 'a code of another sign-in');
assert.equal(await forged(mallory.context, back({ state })), 400, 'its note is used');
// A provider's words come from whoever leads a browser back.
const words = `x\u001b[31m forged role="operator"\n`;
// Whoever gives up is no guesser.
for (let n = 0; n < 20; n += 1) {
  assert.equal(await forged(mallory.context, back({ state: await again(), error: 'access_denied', error_description: words })), 403);
}
let last;
for (let n = 0; n < 20; n += 1) last = await forged(mallory.context, back({ state: await again(), code: `guess${n}` }));
assert.equal(last, 429, 'guesses are counted');
// Another site's link begins nothing.
const led = await mallory.context.request.get(`${base}/sign-in/openid`, { maxRedirects: 0, headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' } });
assert.match(led.headers().location, /^\/sign-in\?/);
assert.equal((await mallory.context.cookies(base)).some((cookie) => cookie.name === '__Host-cmsync'), false);
await mallory.done();

// Whoever guesses there keeps nobody from a password.
await withPassword();


// A sign-out is one, whoever signed in.
await alice.page.getByRole('button', { name: 'Sign out' }).click();
await alice.page.goto('/groups');
await alice.page.getByRole('heading', { name: 'Sign in' }).waitFor();
await alice.done();
await bob.done();
await end(browser);
