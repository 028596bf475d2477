import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { keepCredentials, readTls, type TlsFiles } from '../../../../src/control/etcd/credentials.js';
import { certificateEnd, expiryWarning, parseCertificates } from '../../../../src/core/certificates.js';
import { RudderError } from '../../../../src/core/errors.js';
import { type Logger, SILENT } from '../../../../src/core/logger.js';
import { createPki, type Pki } from '../../../helpers/pki.js';

let pki: Pki;
let files: Required<TlsFiles>;
let lines: string[];
let clock: number;

const say = (fields: object, message: string) => void lines.push(`${message} ${JSON.stringify(fields)}`);
const log: Logger = { ...SILENT, info: say, warn: say, error: say };
const keep = (passwordFile?: string) =>
  keepCredentials({ tls: files, auth: passwordFile ? { username: 'me', passwordFile } : undefined }, log, () => clock);

beforeAll(() => {
  pki = createPki();
  for (const name of ['ca', 'ca2']) pki.authority(name);
  pki.certificate('one', 'ca', 'DNS:one');
  pki.certificate('two', 'ca', 'DNS:two', 30);
  pki.certificate('old', 'ca', 'DNS:old', -1);
});
afterAll(() => pki.remove());
beforeEach(() => {
  files = {
    ca: pki.install('ca.crt', 'in-use-ca'),
    cert: pki.install('one.crt', 'in-use-cert'),
    key: pki.install('one.key', 'in-use-key'),
  };
  lines = [];
  clock = 0;
});

function refusalOf(changed: Partial<TlsFiles>): string {
  try {
    readTls({ ...files, ...changed });
  } catch (error) {
    expect(error).toBeInstanceOf(RudderError);
    expect(error).toMatchObject({ code: 'file' });
    return (error as RudderError).message;
  }
  throw new Error('accepted');
}

it('what is no certificate or no key is told by its file, and what was expected', () => {
  writeFileSync(pki.path('text'), 'text');
  writeFileSync(pki.path('damaged'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  const text = pki.path('text');
  expect(refusalOf({ ca: '/nowhere' })).toMatch(
    /^cannot read --etcd-cafile \/nowhere: ENOENT.*; expected a PEM file of certificates$/,
  );
  expect(refusalOf({ cert: '/nowhere' })).toMatch(/^cannot read --etcd-certfile \/nowhere/);
  expect(refusalOf({ key: '/nowhere' })).toMatch(/^cannot read --etcd-keyfile \/nowhere/);
  expect(refusalOf({ ca: text })).toMatch(
    /^--etcd-cafile .*text holds no certificate: expected a PEM file of certificates$/,
  );
  expect(refusalOf({ cert: pki.path('damaged') })).toMatch(/^--etcd-certfile .*damaged holds a damaged certificate/);
  expect(refusalOf({ key: text })).toMatch(/^--etcd-keyfile .*text holds no key that can be used/);
  expect(refusalOf({ key: pki.path('two.key') })).toMatch(
    /^--etcd-keyfile .*two\.key does not fit .*in-use-cert: expected the key of that certificate$/,
  );
});

it('what changes on disk is read again, at most once a second, and stays the same object until then', () => {
  const keeper = keep();
  const { tls } = keeper.current();
  pki.install('two.crt', 'in-use-cert');
  pki.install('two.key', 'in-use-key');
  keeper.refresh();
  expect(keeper.current().tls).toBe(tls);
  clock += 1000;
  keeper.refresh();
  expect(keeper.current().tls).not.toBe(tls);
  expect(keeper.ends().map(({ subject }) => subject)).toEqual(['CN=ca', 'CN=two']);
  expect(lines).toEqual([expect.stringMatching(/^etcd's credentials have changed.*CN=two/)]);
  const changed = keeper.current().tls;
  clock += 1000;
  keeper.refresh();
  expect(keeper.current().tls).toBe(changed);
});

it.each([
  ['gone', () => rmSync(files.ca)],
  ['cut', () => writeFileSync(files.cert, '-----BEGIN CERT')],
  ['replaced in half', () => pki.install('two.crt', 'in-use-cert')],
])('a file that is %s leaves what works, and is told at a bounded rate', (_, spoil) => {
  const keeper = keep();
  const { tls } = keeper.current();
  spoil();
  for (let i = 0; i < 5; i++) {
    clock += 1000;
    keeper.refresh();
  }
  expect(keeper.current().tls).toBe(tls);
  expect(lines).toEqual([expect.stringContaining('going on with the old ones')]);
  expect(lines[0]).toMatch(/--etcd-\w+file/);
});

it('a password is read again, and is never told', () => {
  const file = pki.path('password');
  const write = (text: string) => {
    writeFileSync(file, text);
    chmodSync(file, 0o600);
  };
  write('old-horse');
  const keeper = keep(file);
  expect(keeper.current().password).toBe('old-horse');
  write('new-horse');
  clock += 1000;
  keeper.refresh();
  expect(keeper.current().password).toBe('new-horse');
  chmodSync(file, 0o644);
  clock += 1000;
  keeper.refresh();
  expect(keeper.current().password).toBe('new-horse');
  expect(lines).toEqual([expect.anything(), expect.stringContaining('may be read by others')]);
  expect(lines.join()).not.toContain('horse');
});

it('files that were never right are an error, until they are', () => {
  rmSync(files.ca);
  const keeper = keep();
  expect(() => keeper.current()).toThrow(/cannot read --etcd-cafile/);
  pki.install('ca.crt', 'in-use-ca');
  expect(() => keeper.current()).toThrow(/cannot read --etcd-cafile/);
  clock += 1000;
  expect(keeper.current().tls?.ends).toHaveLength(2);
});

it('an end that is near is told once a day, and no more after a new certificate', () => {
  const keeper = keep();
  for (const hour of [0, 1, 12, 23]) {
    clock = hour * 3_600_000;
    keeper.tend();
  }
  expect(lines.filter((line) => line.includes('CN=one'))).toHaveLength(0 + 1);
  expect(lines.join()).toMatch(
    /the certificate "CN=one" in .*in-use-cert expires in 1 day, on 20\d\d-.*Z: put a new one/,
  );
  clock = 25 * 3_600_000;
  keeper.tend();
  expect(lines.filter((line) => line.startsWith('the certificate "CN=one"'))).toHaveLength(2);
  pki.install('two.crt', 'in-use-cert');
  pki.install('two.key', 'in-use-key');
  clock = 60 * 3_600_000;
  keeper.tend();
  expect(lines.filter((line) => line.startsWith('the certificate "CN=two"'))).toHaveLength(0);
});

it('of CAs the last end counts, of a chain the first; 14 days are enough', () => {
  const both = parseCertificates(Buffer.concat([readTls(files).cert!, readTls({ cert: pki.path('two.crt') }).cert!]));
  expect(both).toHaveLength(2);
  expect(certificateEnd('f', both, Math.max).subject).toBe('CN=two');
  expect(certificateEnd('f', both, Math.min).subject).toBe('CN=one');
  const end = { file: 'f', subject: 's', notAfter: '2030-02-01T00:00:00.000Z' };
  const before = (ms: number) => expiryWarning(end, Date.UTC(2030, 1) - ms);
  const day = 86_400_000;
  expect(before(14 * day + 1)).toBeUndefined();
  expect(before(14 * day)).toMatch(/expires in 14 days, on 2030-02-01/);
  expect(before(3 * 3_600_000)).toMatch(/expires in 3 h/);
  expect(before(0)).toMatch(/has expired, on 2030-02-01/);
  expect(readTls({ cert: pki.path('old.crt') }).ends[0].subject).toBe('CN=old');
});
