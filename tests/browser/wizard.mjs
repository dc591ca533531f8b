// From nothing to true groups, as somebody does who sets a connection up for the first time.

import { assert, ask, end, judge, launch, person, signIn } from './browser.mjs';

const { base, link, typed } = JSON.parse(process.argv[2]);
const browser = await launch();
const { page, done } = await person(browser, base);
await signIn(page, link);
await page.goto('/');
await page.getByText('No connection yet').waitFor();
await judge(page, 'wizard-none');
await page.getByRole('link', { name: 'Set up a connection' }).click();
await judge(page, 'wizard-start');
const name = page.getByLabel(/^Name/);
await name.fill('Not a name');
assert.equal(await name.evaluate((field) => field.checkValidity()), false, 'it is checked as one types');
await page.getByRole('link', { name: 'lab', exact: true }).click();

await page.getByLabel('Administration service').fill(typed['site.admin_service']);
await page.getByLabel('Certificate authority').fill(typed['site.ca_file']);
assert.equal(await page.getByLabel('Keytab: a file').isVisible(), false, 'what was not chosen is not asked for');
await page.getByLabel('A bearer token in a file').check();
await page.getByLabel('File with the token').fill(typed.bearer_token_file);
await page.getByRole('button', { name: 'Verify', exact: true }).click();
await page.getByText('✓ site CAS').waitFor();
await judge(page, 'wizard-site');
await page.getByRole('button', { name: 'Verify and go on' }).click();

await page.getByLabel('Directory (tenant) id').fill('nonsense');
assert.equal(await page.getByLabel('Directory (tenant) id').evaluate((field) => field.checkValidity()), false);
await page.getByLabel('Directory (tenant) id').fill(typed['workspace.tenant_id']);
await page.getByLabel('Application (client) id').fill(typed['workspace.client_id']);
await page.getByLabel('A client secret').check();
await page.getByLabel('Its value').fill(typed.client_secret);
await page.getByLabel(/Azure CLI/).check();
await judge(page, 'wizard-identity');
await page.getByRole('button', { name: 'Verify and go on' }).click();

await page.getByRole('button', { name: 'Look and go on' }).waitFor();
await judge(page, 'wizard-workspace');
await page.getByRole('button', { name: 'Look and go on' }).click();

// Left here, and resumed from the overview.
await page.getByLabel('Or all whose names fit a pattern').waitFor();
await page.goto('/connect');
await page.getByRole('link', { name: 'lab', exact: true }).click();
await page.getByRole('link', { name: 'Collections' }).click();
await judge(page, 'wizard-collections');
await page.getByLabel('Or all whose names fit a pattern').fill('*');
await page.getByRole('button', { name: 'Choose and go on' }).click();

await page.getByText('would be made').first().waitFor();
await page.getByText('GB a month').waitFor();
await judge(page, 'wizard-summary');
await page.getByRole('button', { name: 'Set up', exact: true }).click();
await page.getByRole('link', { name: 'Look at lab' }).waitFor();
await judge(page, 'wizard-complete');
await page.getByRole('link', { name: 'Look at lab' }).click();
await ask('equal');
await page.goto('/');
await page.getByText('everything that changed was taken').waitFor();
await done();
await end(browser);
