import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createEtcdRegistry } from '../../src/control/etcd/etcd-registry.js';
import type { Registry } from '../../src/control/etcd/registry.js';
import { type Logger, SILENT } from '../../src/core/logger.js';
import { startTestEtcd, type TestEtcd } from '../helpers/etcd.js';
import { createPki, type Pki } from '../helpers/pki.js';
import { describeWith } from '../helpers/requires.js';
import { eventually, NAME, recordWatch } from './registry-suite.js';

const PREFIX = '/live/network';

/** Files on disk change while a registry is in use; nobody restarts it. */
describeWith(['etcd'], 'credentials that are replaced', () => {
  let pki: Pki;
  let etcd: TestEtcd;
  let registry: Registry;
  let lines: string[];
  let stop: () => Promise<void>;

  const say = (fields: object, message: string) => void lines.push(`${message} ${JSON.stringify(fields)}`);
  const log: Logger = { ...SILENT, info: say, warn: say, error: say };

  beforeEach(() => {
    pki = createPki();
    lines = [];
  });
  afterEach(async () => {
    registry?.close();
    await stop?.();
    pki.remove();
  });

  /** Puts one generation of CA, server's and client's certificate where etcd and the registry look for them. */
  function install(generation: string): void {
    for (const name of ['ca', 'server', 'client']) {
      for (const kind of ['crt', 'key']) pki.install(`${name}-${generation}.${kind}`, `${name}.${kind}`);
    }
  }

  function create(generation: string): void {
    pki.authority(`ca-${generation}`);
    pki.certificate(`server-${generation}`, `ca-${generation}`, 'IP:127.0.0.1');
    pki.certificate(`client-${generation}`, `ca-${generation}`, 'DNS:client');
  }

  const tls = () => ({ ca: pki.path('ca.crt'), cert: pki.path('client.crt'), key: pki.path('client.key') });

  async function startTlsEtcd(): Promise<void> {
    create('1');
    install('1');
    const files = [`--cert-file=${pki.path('server.crt')}`, `--key-file=${pki.path('server.key')}`];
    etcd = await startTestEtcd([...files, '--client-cert-auth', `--trusted-ca-file=${pki.path('ca.crt')}`], 'https');
    stop = etcd.stop;
    registry = createEtcdRegistry({ endpoints: [etcd.url], prefix: PREFIX, tls: tls(), deadlineMs: 2000 }, log);
    await eventually(() => registry.listLeases());
  }

  /** With the data it has, and the certificates that are there now. */
  async function restart(): Promise<void> {
    etcd.process.kill('SIGKILL');
    await once(etcd.process, 'exit');
    const again = spawn('etcd', etcd.process.spawnargs.slice(1), { stdio: 'ignore' });
    stop = async () => {
      again.kill('SIGKILL');
      await once(again, 'exit');
      await etcd.stop();
    };
  }

  it('are used when etcd comes back with a new CA: the lease is kept, and a new watch opens', async () => {
    await startTlsEtcd();
    const holding = (await registry.createLease(NAME, 'mine', 60))!;
    const watch = recordWatch(registry, holding.revision);
    await eventually(() => expect(watch.events).toHaveLength(1));
    expect(registry.certificates().map(({ subject }) => subject)).toEqual(['CN=ca-1', 'CN=client-1']);

    create('2');
    install('2');
    // What works goes on: nobody hangs up because of files.
    expect(await registry.keepAlive(holding.ttlId)).toBe(true);
    expect(watch.ended).toHaveLength(0);
    await restart();

    await eventually(() => expect(watch.ended).toHaveLength(1));
    await eventually(async () => expect(await registry.keepAlive(holding.ttlId)).toBe(true));
    expect(registry.certificates().map(({ subject }) => subject)).toEqual(['CN=ca-2', 'CN=client-2']);
    const next = recordWatch(registry, holding.revision);
    await eventually(() => expect(next.events).toHaveLength(1));
    expect(lines.filter((line) => line.startsWith("etcd's credentials have changed"))).toHaveLength(1);
  });

  it('are used by the watch too, if it is the first to be refused', async () => {
    await startTlsEtcd();
    const { revision } = (await registry.createLease(NAME, 'mine', 60))!;
    create('2');
    install('2');
    await restart();
    let watch = recordWatch(registry, revision);
    await eventually(() => {
      if (watch.ended.length > 0) watch = recordWatch(registry, revision);
      expect(watch.events).toHaveLength(1);
    });
    expect(registry.certificates()[1].subject).toBe('CN=client-2');
  });

  it('but gone or cut at the moment do not take down what works', async () => {
    await startTlsEtcd();
    const { ttlId } = (await registry.createLease(NAME, 'mine', 60))!;
    rmSync(pki.path('ca.crt'));
    writeFileSync(pki.path('client.crt'), '-----BEGIN CERT');
    registry.reconnect();
    expect(await registry.keepAlive(ttlId)).toBe(true);
    await eventually(() => {
      registry.reconnect();
      expect(lines.join()).toContain('going on with the old ones');
    });
    expect(await registry.keepAlive(ttlId)).toBe(true);
  });

  it('are a password: it is read again when etcd refuses the old one, also for the watch', async () => {
    etcd = await startTestEtcd();
    stop = etcd.stop;
    const root = 'root-horse-battery';
    const asRoot = ['--user', `root:${root}`];
    await etcd.ctl('user', 'add', `root:${root}`);
    await etcd.ctl('user', 'grant-role', 'root', 'root');
    await etcd.ctl('user', 'add', 'rudder:old-horse');
    await etcd.ctl('role', 'add', 'network');
    await etcd.ctl('role', 'grant-permission', 'network', '--prefix=true', 'readwrite', `${PREFIX}/`);
    await etcd.ctl('user', 'grant-role', 'rudder', 'network');
    await etcd.ctl('auth', 'enable');
    const passwordFile = pki.path('password');
    writeFileSync(passwordFile, 'old-horse\n', { mode: 0o600 });
    const auth = { username: 'rudder', passwordFile };
    registry = createEtcdRegistry({ endpoints: [etcd.url], prefix: PREFIX, auth, deadlineMs: 2000 }, log);
    const { ttlId, revision } = (await registry.createLease(NAME, 'mine', 60))!;

    await etcd.ctl(...asRoot, 'user', 'delete', 'rudder');
    await etcd.ctl(...asRoot, 'user', 'add', 'rudder:new-horse');
    await etcd.ctl(...asRoot, 'user', 'grant-role', 'rudder', 'network');
    await expect(registry.getConfig()).rejects.toMatchObject({ code: 'registry-refused' });
    writeFileSync(passwordFile, 'new-horse\n', { mode: 0o600 });
    await eventually(async () => expect(await registry.keepAlive(ttlId)).toBe(true));
    const watch = recordWatch(registry, revision);
    await eventually(() => expect(watch.events).toHaveLength(1));
    expect(lines.join()).not.toContain('horse');
  });
});
