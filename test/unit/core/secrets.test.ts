import { describe, expect, it } from 'vitest';
import { redactJson, redactText, withoutSecrets } from '../../../src/core/secrets.js';

it('hides what is called a key, secret, password or token, in any case and at any depth', () => {
  const value = {
    Network: 'n',
    Backend: { PSK: 'a', preSharedKey: 'b', list: [{ API_TOKEN: 1, Port: 2 }], Secrets: { x: 1 } },
  };
  expect(withoutSecrets(value)).toEqual({
    Network: 'n',
    Backend: {
      PSK: '(hidden)',
      preSharedKey: '(hidden)',
      list: [{ API_TOKEN: '(hidden)', Port: 2 }],
      Secrets: '(hidden)',
    },
  });
});

it('leaves JSON without a secret as it was written', () => {
  for (const text of [
    '{"Backend":{"PSK":"", "Token":null}}',
    '{ "Network" : "10.240.0.0/16" }',
    '5',
    'null',
    'no JSON',
  ])
    expect(redactJson(text)).toBe(text);
});

it('hides secrets in JSON, and in what is none', () => {
  expect(redactJson('{"Backend":{"PSK":"hush"}}')).toBe('{"Backend":{"PSK":"(hidden)"}}');
  for (const broken of ['{"PSK":"hush","a":}', '{"my password": "hu\\"sh', '{"Token":hush, "a":1']) {
    expect(redactJson(broken)).not.toMatch(/hu|sh/);
  }
});

describe('text of any kind', () => {
  it.each([
    ['--etcd-password hush --log-level debug', '--etcd-password (hidden) --log-level debug'],
    ['--etcd-password=hush', '--etcd-password=(hidden)'],
    ['RUDDERD_ETCD_PASSWORD=hush', 'RUDDERD_ETCD_PASSWORD=(hidden)'],
    ['{"etcdPassword":"hu\\"sh","a":1}', '{"etcdPassword":"(hidden)","a":1}'],
    ['{"msg":"got {\\"PSK\\": \\"hush\\"}"}', '{"msg":"got {\\"PSK\\": \\"(hidden)\\"}"}'],
    ["client_secret: 'hush hush'", "client_secret: '(hidden)'"],
    ['access-token: hush', 'access-token: (hidden)'],
    ['private key: hush=', 'private key: (hidden)'],
    ['Authorization: Bearer hush', 'Authorization: (hidden)'],
    ['https://user:hush@10.1.1.1:2379/x', 'https://(hidden)@10.1.1.1:2379/x'],
    ['a\n-----BEGIN EC PRIVATE KEY-----\nhush\n-----END EC PRIVATE KEY-----\nb', 'a\n(hidden)\nb'],
    ['-----BEGIN PRIVATE KEY-----\nhush', '(hidden)'],
  ])('%j', (text, redacted) => {
    expect(redactText(text)).toBe(redacted);
  });

  it.each([
    '--etcd-password-file /etc/rudder/password --etcd-keyfile /etc/rudder/key.pem',
    '"passwordFile": "/etc/rudder/password"',
    'http://10.1.1.1:2379, http://[fd00::1]:2379/x@y',
    '{"NodeID":"abc","key":"written","endpoints":["http://127.0.0.1:2379"]}',
  ])('stays as it is: %s', (text) => {
    expect(redactText(text)).toBe(text);
  });

  it('of a megabyte without a space is looked through at once', () => {
    for (const one of ['a', 'a.', 'secret', '://', 'a:', '"']) {
      const began = performance.now();
      redactText(one.repeat(1_000_000 / one.length));
      redactJson(one.repeat(1_000_000 / one.length));
      expect(performance.now() - began).toBeLessThan(3000);
    }
  });
});
