import { expect, it } from 'vitest';
import { redactJson, withoutSecrets } from '../../../src/core/secrets.js';

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
  for (const text of ['{ "Network" : "10.240.0.0/16" }', '5', 'null', 'no JSON']) expect(redactJson(text)).toBe(text);
});

it('hides secrets in JSON, and in what is none', () => {
  expect(redactJson('{"Backend":{"PSK":"hush"}}')).toBe('{"Backend":{"PSK":"(hidden)"}}');
  for (const broken of ['{"PSK":"hush","a":}', '{"my password": "hu\\"sh', '{"Token":hush, "a":1']) {
    expect(redactJson(broken)).not.toMatch(/hu|sh/);
  }
});
