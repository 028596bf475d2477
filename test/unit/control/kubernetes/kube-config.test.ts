import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConnection } from '../../../../src/control/kubernetes/kube-config.js';
import type { KubernetesOptions } from '../../../../src/control/kubernetes/options.js';

let directory: string;
let options: KubernetesOptions;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kubeconfig-'));
  options = {
    annotationPrefix: 'flannel.alpha.coreos.com',
    netConfigPath: '/x',
    setNetworkUnavailable: true,
    version: '1',
    environment: { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' },
    serviceAccountDirectory: directory,
  };
});
afterEach(() => rmSync(directory, { recursive: true }));

const write = (name: string, text: string) => {
  writeFileSync(join(directory, name), text);
  return join(directory, name);
};
const pemOf = (connection: ReturnType<typeof readConnection>) => connection.ca?.pem.toString();

describe('in a pod', () => {
  beforeEach(() => {
    write('token', ' t\n');
    write('ca.crt', 'CA');
  });

  it('the service account and the variables say how the API is spoken to', () => {
    const connection = readConnection(options);
    expect(connection).toMatchObject({
      server: 'https://10.96.0.1:443',
      authorization: 'Bearer t',
      isUnverified: false,
    });
    expect(pemOf(connection)).toBe('CA');
  });

  it('an IPv6 address has its brackets', () => {
    const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
    expect(readConnection({ ...options, environment }).server).toBe('https://[fd00::1]:6443');
  });

  it('--kube-api-url names another address of the same cluster', () => {
    expect(readConnection({ ...options, apiUrl: 'https://10.1.1.1:6443' })).toMatchObject({
      server: 'https://10.1.1.1:6443',
      authorization: 'Bearer t',
    });
    expect(readConnection({ ...options, apiUrl: 'http://10.1.1.1:8080' }).authorization).toBeUndefined();
  });

  it('a token that is missing is said to be', () => {
    rmSync(join(directory, 'token'));
    expect(() => readConnection(options)).toThrow(
      /cannot read the service account's token in .*automountServiceAccountToken/,
    );
  });
});

it('outside of one neither is there', () => {
  expect(() => readConnection({ ...options, environment: {} })).toThrow(
    /^--kube-subnet-mgr without --kube-api-url or --kubeconfig-file outside of a pod/,
  );
});

describe('a kubeconfig', () => {
  const file = (cluster: string, user: string, more = '') =>
    write(
      'kubeconfig',
      `current-context: c\nclusters:\n- name: k\n  cluster: ${cluster}\nusers:\n- name: u\n  user: ${user}\ncontexts:\n- name: c\n  context: { cluster: k, user: u }\n${more}`,
    );
  const read = (kubeconfigFile: string) => readConnection({ ...options, kubeconfigFile });

  it('has files beside it, and data in it', () => {
    write('ca.pem', 'CA');
    write('tok', 'abc\n');
    const beside = read(
      file(
        '{ server: "https://api:6443/", certificate-authority: ca.pem, tls-server-name: kube }',
        '{ tokenFile: tok, token: old }',
      ),
    );
    expect(beside).toMatchObject({ server: 'https://api:6443', authorization: 'Bearer abc', tlsServerName: 'kube' });
    expect(beside.ca).toMatchObject({ file: join(directory, 'ca.pem') });
    const b64 = (text: string) => Buffer.from(text).toString('base64');
    const inside = read(
      file(
        `{ server: https://api, certificate-authority-data: ${b64('CA')}, proxy-url: "http://p:1" }`,
        `{ client-certificate-data: ${b64('C')}, client-key-data: ${b64('K')} }`,
      ),
    );
    expect([inside.cert?.pem.toString(), inside.key?.pem.toString(), inside.proxyUrl]).toEqual([
      'C',
      'K',
      'http://p:1',
    ]);
    expect(
      read(file('{ server: https://api, insecure-skip-tls-verify: true }', '{ username: u, password: p }')),
    ).toMatchObject({
      isUnverified: true,
      authorization: `Basic ${b64('u:p')}`,
    });
  });

  it('is read again: what it says may change', () => {
    const path = file('{ server: https://api }', '{ token: one }');
    expect(read(path).authorization).toBe('Bearer one');
    file('{ server: https://api }', '{ token: two }');
    expect(read(path).authorization).toBe('Bearer two');
  });

  it.each([
    [
      'exec',
      '{ exec: { command: aws, args: [secret] } }',
      /by the plugin "exec", which rudder does not run: expected a token, a tokenFile or a client certificate/,
    ],
    ['OIDC', '{ auth-provider: { name: oidc, config: { id-token: secret } } }', /by the plugin "auth-provider"/],
  ])('with the plugin %s is refused clearly', (_, user, expected) => {
    const path = file('{ server: https://api }', user);
    expect(() => read(path)).toThrow(expected);
    expect(() => read(path)).not.toThrow(/secret/);
  });

  it.each([
    ['is no YAML', 'a: [secret', /is no YAML: expected a kubeconfig/],
    ['is empty', '', /has the whole of it wrong/],
    ['has no context', 'clusters: []\n', /has no context "", which current-context names/],
    ['has no such cluster', 'current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n', /has no cluster "k"/],
    [
      'has no server',
      'current-context: c\nclusters: [{name: k, cluster: {}}]\ncontexts: [{name: c, context: {cluster: k}}]\n',
      /has clusters\.0\.cluster\.server wrong/,
    ],
    [
      'has another server',
      'current-context: c\nclusters: [{name: k, cluster: {server: "ftp://x"}}]\ncontexts: [{name: c, context: {cluster: k}}]\n',
      /has the server "ftp:\/\/x": expected a URL/,
    ],
  ])('that %s is refused, and not quoted', (_, text, expected) => {
    const path = write('kubeconfig', text);
    expect(() => read(path)).toThrow(expected);
    expect(() => read(path)).not.toThrow(/secret/);
  });

  it('that is not there is said to be missing', () => {
    expect(() => read('/nowhere/kubeconfig')).toThrow(/^cannot read \/nowhere\/kubeconfig: ENOENT/);
  });
});
