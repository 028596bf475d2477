import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addDaemonOptions } from '../../../src/cli/daemon-options.js';
import { readNodeOptions } from '../../../src/cli/defaults-file.js';
import { addEtcdOptions } from '../../../src/cli/etcd-options.js';
import { findEtcd, toEtcdSettings } from '../../../src/cli/node-etcd.js';
import { useStore } from '../../../src/cli/node-store.js';

let directory: string;
let server: Server | undefined;
/** Whoever owns the control socket. */
let socketOwner = 0;

vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  lstat: async () => ({ uid: socketOwner }),
}));

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-find-'));
  socketOwner = 0;
  vi.spyOn(process, 'getuid').mockReturnValue(0);
});
afterEach(() => {
  server?.close();
  server = undefined;
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

/** What a command is given, on a host with these settings of the service. */
function nodeOf({ argv = [] as string[], settings = '' }) {
  const file = join(directory, 'default');
  if (settings !== '') writeFileSync(file, settings);
  const program = addDaemonOptions(addEtcdOptions(new Command())).exitOverride();
  program.parse([`--subnet-file=${directory}/subnet.env`, ...argv], { from: 'user' });
  return readNodeOptions(program, file);
}

/** A daemon that says this of its etcd. */
function listen(body: unknown, code = 200): Promise<void> {
  const told = createServer((request, response) => {
    response.writeHead(request.url === '/etcd' ? code : 404).end(JSON.stringify(body));
  });
  server = told;
  return new Promise((resolve) => told.listen(join(directory, 'rudder.sock'), resolve));
}

const DAEMON = { endpoints: ['http://10.1.1.1:2379'], prefix: '/daemons' };
const SETTINGS = 'RUDDERD_ETCD_ENDPOINTS=http://10.1.1.2:2379\nRUDDERD_ETCD_PREFIX="/settings"\n';

describe("a node's etcd", () => {
  it('is what the command line says, and then nobody else is asked, about no part of it', async () => {
    await listen({ ...DAEMON, cafile: '/ca.pem' });
    const node = nodeOf({ argv: ['--etcd-endpoints=http://10.1.1.3:2379'], settings: SETTINGS });
    expect(await findEtcd(node)).toEqual({
      raw: { etcdEndpoints: ['http://10.1.1.3:2379'], etcdPrefix: '/coreos.com/network' },
      saidBy: undefined,
    });
  });

  it('is what the environment says', async () => {
    vi.stubEnv('RUDDERD_ETCD_ENDPOINTS', 'http://10.1.1.4:2379');
    await listen(DAEMON);
    const { raw, saidBy } = await findEtcd(nodeOf({ settings: SETTINGS }));
    expect(raw).toMatchObject({ etcdEndpoints: ['http://10.1.1.4:2379'], etcdPrefix: '/coreos.com/network' });
    expect(saidBy).toBeUndefined();
  });

  it('is else that of the running daemon, also while it starts, but for what is given', async () => {
    await listen({
      ...DAEMON,
      endpoints: ['https://10.1.1.1:2379'],
      cafile: '/ca.pem',
      username: 'u',
      passwordFile: '/p',
    });
    const { raw, saidBy } = await findEtcd(nodeOf({ argv: ['--etcd-prefix=/mine'], settings: SETTINGS }));
    expect(raw).toEqual({
      etcdEndpoints: ['https://10.1.1.1:2379'],
      etcdPrefix: '/mine',
      etcdCafile: '/ca.pem',
      etcdUsername: 'u',
      etcdPasswordFile: '/p',
    });
    expect(saidBy).toBe('as the running daemon says');
  });

  it('is never of two: who gives a user gives the password too', async () => {
    await listen({ ...DAEMON, username: 'u' });
    const argv = ['--etcd-username=me', '--etcd-password-file=/mine'];
    expect((await findEtcd(nodeOf({ argv }))).raw).toEqual({
      etcdEndpoints: DAEMON.endpoints,
      etcdPrefix: DAEMON.prefix,
      etcdUsername: 'me',
      etcdPasswordFile: '/mine',
    });
  });

  it.each<[string, (() => Promise<void>) | undefined]>([
    ['no daemon runs', undefined],
    ['a daemon of an earlier version runs', () => listen({}, 404)],
    ['something else answers there', () => listen({ endpoints: 'x' })],
    ['what answers is no etcd', () => listen({ ...DAEMON, endpoints: ['file:///etc/shadow'] })],
  ])('is else that of the settings of the service: %s', async (_, start) => {
    await start?.();
    expect(await findEtcd(nodeOf({ settings: SETTINGS }))).toEqual({
      raw: { etcdEndpoints: ['http://10.1.1.2:2379'], etcdPrefix: '/settings' },
      saidBy: 'as /etc/default/rudder says',
    });
  });

  it('is at last the default, and it is told why', async () => {
    const { raw, saidBy } = await findEtcd(nodeOf({}));
    expect(raw.etcdPrefix).toBe('/coreos.com/network');
    expect(saidBy).toBe('by default: no daemon runs, and /etc/default/rudder names none');
  });

  it('is not taken from settings that are wrong, which are named', async () => {
    const wrong = nodeOf({ settings: 'RUDDERD_ETCD_ENDPOINTS=10.1.1.2:2379\n' });
    await expect(findEtcd(wrong)).rejects.toThrow(
      /default has RUDDERD_ETCD_ENDPOINTS wrong: "10\.1\.1\.2:2379" is not/,
    );
    await listen(DAEMON);
    expect((await findEtcd(wrong)).raw.etcdPrefix).toBe('/daemons');
  });

  it('has the password that the settings give, if the daemon has its own from nowhere else', async () => {
    await listen({ ...DAEMON, username: 'u' });
    const settings = 'RUDDERD_ETCD_USERNAME=u\nRUDDERD_ETCD_PASSWORD="p q"\n';
    expect((await findEtcd(nodeOf({ settings }))).raw).toMatchObject({ etcdUsername: 'u', etcdPassword: 'p q' });
    await expect(findEtcd(nodeOf({ settings: settings.replace('=u', '=v') }))).rejects.toThrow(
      /etcd's user "u" by a password that it does not tell: give --etcd-username and --etcd-password-file/,
    );
  });

  it('makes root open no file that a daemon of fewer rights names and the settings do not', async () => {
    socketOwner = 990;
    await listen({ ...DAEMON, username: 'u', passwordFile: '/root/token' });
    const lines = 'RUDDERD_ETCD_USERNAME=u\nRUDDERD_ETCD_PASSWORD_FILE=';
    await expect(findEtcd(nodeOf({ settings: `${lines}/etc/rudder.pw\n` }))).rejects.toThrow(
      /no process of root's and has --etcd-password-file \/root\/token: expected the same in \/etc\/default\/rudder/,
    );
    expect((await findEtcd(nodeOf({ settings: `${lines}/root/token\n` }))).raw.etcdPasswordFile).toBe('/root/token');
    vi.spyOn(process, 'getuid').mockReturnValue(1000);
    expect((await findEtcd(nodeOf({ settings: `${lines}/x\n` }))).raw.etcdPasswordFile).toBe('/root/token');
  });

  it('is named on stderr if nobody gave it', async () => {
    const lines: unknown[] = [];
    vi.spyOn(process.stderr, 'write').mockImplementation((line) => lines.push(line) > 0);
    await useStore(nodeOf({ argv: ['--etcd-endpoints=http://10.1.1.3:2379'] }));
    expect(lines).toEqual([]);
    await useStore(nodeOf({ settings: SETTINGS }));
    expect(lines).toEqual([
      'rudder: using etcd at http://10.1.1.2:2379, prefix /settings, as /etc/default/rudder says\n',
    ]);
  });
});

describe('the settings of the service', () => {
  it('count for a command as for the daemon, and less than what is given', () => {
    const settings = `
      RUDDERD_STATE_DIR='/var/lib/other'
      RUDDERD_NO_FIREWALL=true
      RUDDERD_SUBNET_FILE=/run/other/subnet.env
      RUDDERD_IFACE=eth1
      RUDDERD_MTU=
      # RUDDERD_LEASE_TTL=1h`;
    const { raw, refused } = nodeOf({ settings });
    expect(raw).toMatchObject({ stateDir: '/var/lib/other', firewall: false, iface: ['eth1'], leaseTtl: 86_400 });
    expect(raw.subnetFile).toBe(`${directory}/subnet.env`);
    expect(refused.size).toBe(0);
  });

  it('are told where the daemon would refuse them', () => {
    const { refused } = nodeOf({
      settings: 'RUDDERD_MTU=big\nRUDDERD_LOG_LEVEL=loud\nRUDDERD_PUBLIC_IP=x\n',
      argv: ['--public-ip=10.1.1.1'],
    });
    expect([...refused.keys()]).toEqual(['mtu', 'logLevel']);
    expect(refused.get('mtu')?.message).toMatch(/default has RUDDERD_MTU wrong: Expected a whole number .*Correct it/);
  });
});

it('of a daemon tells paths as anybody finds them, and no password', () => {
  const raw = {
    etcdEndpoints: ['http://a:1'],
    etcdPrefix: '/x',
    etcdCafile: 'ca.pem',
    etcdPassword: 'secret',
    etcdUsername: '',
  };
  expect(toEtcdSettings(raw)).toEqual({
    endpoints: ['http://a:1'],
    prefix: '/x',
    cafile: join(process.cwd(), 'ca.pem'),
  });
});
