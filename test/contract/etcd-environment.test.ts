import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { createPki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';
import { eventually } from './registry-suite.js';

const PASSWORD = 'right-horse-battery';
/** Nobody listens there. */
const DEAD = 'http://127.0.0.1:1';

/** What others set for gRPC, Node or a browser means nothing to us. */
const FOREIGN = {
  http_proxy: DEAD,
  https_proxy: DEAD,
  grpc_proxy: DEAD,
  HTTP_PROXY: DEAD,
  HTTPS_PROXY: DEAD,
  GRPC_TRACE: 'all',
  GRPC_VERBOSITY: 'DEBUG',
  GRPC_SSL_CIPHER_SUITES: 'none-that-exists',
  GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: '/nowhere',
  GRPC_NODE_USE_ALTERNATIVE_RESOLVER: 'true',
  NODE_TLS_REJECT_UNAUTHORIZED: '0',
};

/** What etcd has been asked for is not there: it has answered, and this line is all that was written. */
const ANSWERED = {
  code: 3,
  stdout: '',
  stderr: expect.stringMatching(
    /^rudder: there is no network config in etcd: expected one; create it with rudder init [^\n]+\n$/,
  ),
};

describeWith(['etcd'], 'the environment of other programs', () => {
  const pki = createPki();
  let plain: TestEtcd;
  let secure: TestEtcd;

  interface Outcome {
    readonly code: number | string | null | undefined;
    readonly stdout: string;
    readonly stderr: string;
  }

  /** `rudder leases`, as a process of its own: gRPC reads its variables once. */
  function leases(...args: string[]): Promise<Outcome> {
    const command = [resolve('dist/cli/main.js'), 'leases', '--json', ...args];
    return new Promise((done) => {
      execFile(process.execPath, command, { env: { ...process.env, ...FOREIGN } }, (error, stdout, stderr) =>
        done({ code: error === null ? 0 : error.code, stdout, stderr }),
      );
    });
  }

  beforeAll(async () => {
    pki.authority('ca');
    pki.authority('stranger');
    pki.certificate('server', 'ca', 'IP:127.0.0.1,DNS:localhost');
    plain = await startTestEtcd();
    await plain.ctl('user', 'add', `root:${PASSWORD}`);
    await plain.ctl('user', 'grant-role', 'root', 'root');
    await plain.ctl('auth', 'enable');
    const files = [`--cert-file=${pki.path('server.crt')}`, `--key-file=${pki.path('server.key')}`];
    secure = await startTestEtcd(files, 'https');
  }, 30_000);
  afterAll(async () => {
    await plain?.stop();
    await secure?.stop();
    pki.remove();
  });

  it('leaves requests and the login alone, and nothing foreign is written', async () => {
    const outcome = await leases(
      `--etcd-endpoints=${plain.url}`,
      '--etcd-username=root',
      `--etcd-password=${PASSWORD}`,
    );
    expect(outcome).toEqual(ANSWERED);
  });

  it('leaves TLS alone, to an address and to a name', async () => {
    for (const url of [secure.url, secure.url.replace('127.0.0.1', 'localhost')]) {
      await eventually(async () => {
        const outcome = await leases(`--etcd-endpoints=${url}`, `--etcd-cafile=${pki.path('ca.crt')}`);
        expect(outcome).toEqual(ANSWERED);
      });
    }
  });

  it('does not make us trust whom we would not', async () => {
    const { code, stderr } = await leases(
      `--etcd-endpoints=${secure.url}`,
      `--etcd-cafile=${pki.path('stranger.crt')}`,
    );
    expect(code).toBe(4);
    expect(stderr).toMatch(/^rudder: no trusted TLS connection [^\n]*\n$/);
  });
});
