// A real identity provider (oidc-provider), over TLS: people, their roles, and one application. Whoever
// starts it gives everything as JSON, and reads `ready` when it answers.

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { createServer } from 'node:https';
import { readFileSync } from 'node:fs';

// What is printed is read as far as `ready`.
console.info = () => {};
const require = createRequire(`${process.env.CMSYNC_NODE_MODULES}/`);
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const { port, certificate, key, back, method, secret, roles } = JSON.parse(process.argv[2]);

const provider = new Provider(`https://localhost:${port}`, {
  clients: [{ client_id: 'cmsync', client_secret: secret, redirect_uris: [back], token_endpoint_auth_method: method }],
  clientAuthMethods: [method],
  // As Entra ID does it, an application's roles stand in the ID token.
  conformIdTokenClaims: false,
  claims: { openid: ['sub', 'roles'], profile: ['preferred_username'] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, roles: roles[id], preferred_username: `${id}@contoso.com` }) }),
  pkce: { required: () => true },
});
const tls = { cert: readFileSync(certificate), key: readFileSync(key) };
createServer(tls, provider.callback()).listen(port, '127.0.0.1', () => process.stdout.write('ready\n'));
