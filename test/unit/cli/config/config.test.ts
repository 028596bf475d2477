import { hostname } from 'node:os';
import { beforeEach, describe, expect, it } from 'vitest';
import { type ConfigStore, getConfig, setConfig, showHistory, type Wish } from '../../../../src/cli/config/config.js';
import { noteOf, parseNote } from '../../../../src/cli/config/history.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../../helpers/memory-registry.js';

const JSON_TEXT = '{"Network":"10.240.0.0/16"}';
const LEASE = '{"PublicIP":"10.1.1.1","BackendData":{"NodeID":"x","HostName":"node1"}}';

let registry: MemoryRegistry;
let store: ConfigStore;
let printed: string[];
beforeEach(() => {
  registry = createMemoryRegistry();
  printed = [];
  store = {
    ...registry,
    configPlace: { key: '/x/config', flags: ['--etcd-prefix', '/x'] },
    listClaims: async () =>
      (await registry.listLeases()).entries.map(({ name, value, ttlId }) => ({
        name,
        value,
        isForEver: ttlId === '0',
      })),
  };
});
const print = (text: string) => void printed.push(text);
const set = (key: string, value?: string, wish: Partial<Wish> = {}) =>
  setConfig(store, { key, value, yesRenumber: false, dryRun: false, ...wish }, print);
const shown = { json: false, showSecrets: false };

describe('rudder config set', () => {
  beforeEach(() => registry.createConfig(JSON_TEXT, noteOf(undefined, JSON_TEXT)));

  it('prints a plan, writes, and notes who did it', async () => {
    await set('backend.mtu', '1400');
    expect(await registry.getConfig()).toBe('{"Network":"10.240.0.0/16","Backend":{"MTU":1400}}');
    expect(printed).toEqual([
      "Plan for /x/config:\n  Backend.MTU the underlay's becomes 1400\n  no node has a lease: it counts for those that start from now on",
      'Written: /x/config',
    ]);
    const [{ note }] = await registry.configHistory();
    expect(parseNote(note)).toMatchObject({ host: hostname(), before: JSON_TEXT, config: await registry.getConfig() });
  });

  it('of the same config writes nothing', async () => {
    await set('Backend.MTU', '1400');
    const before = await registry.readConfig();
    await set('BACKEND.mtu', '1400');
    await set(' { "network" : "10.240.0.0/16" , "Backend" : { "mtu" : 1400 } } ');
    await set('SubnetMax', '');
    expect(await registry.readConfig()).toEqual(before);
    expect(printed.slice(2)).toEqual(Array(3).fill('/x/config holds this config already: nothing is written'));
  });

  it('of a default writes it down: it stays when something else changes', async () => {
    await set('SubnetLen', '24');
    expect(printed[0]).toMatch(/nothing of what it means, only how it is written/);
    expect(await registry.getConfig()).toBe('{"Network":"10.240.0.0/16","SubnetLen":24}');
  });

  it('is refused without --yes-renumber if a node loses its subnet, after the plan', async () => {
    registry.putRaw('10.240.7.0-24', LEASE, 60);
    for (const dryRun of [false, true]) {
      await expect(set('Network', '10.9.0.0/16', { dryRun })).rejects.toMatchObject({
        code: 'renumbering',
        message: expect.stringMatching(/^REFUSED: at its next restart 1 node would lose its \/24 subnet \(node1\)/),
      });
      expect(printed.pop()).toMatch(/^Plan for .*\n {2}Network 10\.240\.0\.0\/16 becomes 10\.9\.0\.0\/16/);
    }
    expect(await registry.getConfig()).toBe(JSON_TEXT);
    await set('Network', '10.9.0.0/16', { yesRenumber: true });
    expect(await registry.getConfig()).toBe('{"Network":"10.9.0.0/16"}');
  });

  it('with --dry-run writes nothing', async () => {
    await set('SubnetLen', '26', { dryRun: true });
    expect(printed[1]).toBe('Nothing is written.');
    expect(await registry.getConfig()).toBe(JSON_TEXT);
    expect(await registry.configHistory()).toHaveLength(1);
  });

  it.each([
    ['Backend.MUT', '1400', 'network-config', /did you mean MTU/],
    ['Backend.MTU', 'large', 'network-config', /MTU/],
    ['SubnetLen', undefined, 'usage', /config set "SubnetLen": expected KEY VALUE, or the whole config as JSON/],
    ['{"Network":', undefined, 'network-config', /expected JSON/],
    ['{"Network":"10.240.0.7/16"}', undefined, 'network-config', /expected "10\.240\.0\.0\/16"/],
  ])('of %s %s is refused', async (key, value, code, message) => {
    await expect(set(key, value)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(await registry.getConfig()).toBe(JSON_TEXT);
  });

  it('is refused if somebody else was faster', async () => {
    const faster: ConfigStore = {
      ...store,
      async listClaims() {
        registry.putRaw('config', '{"Network":"10.240.0.0/16","SubnetLen":25}');
        return [];
      },
    };
    const wish = { key: 'SubnetLen', value: '26', yesRenumber: false, dryRun: false };
    await expect(setConfig(faster, wish, print)).rejects.toMatchObject({
      code: 'config-exists',
      message:
        '/x/config was changed by somebody meanwhile: expected it as it was read for this plan, and nothing is written; look at it with rudder config get --etcd-prefix /x, and try again',
    });
    expect(await registry.getConfig()).toContain('25');
    expect(await registry.configHistory()).toHaveLength(1);
  });

  it('of the whole replaces what is no config, and says that there is nothing to compare with', async () => {
    registry.putRaw('config', 'nonsense');
    await expect(set('SubnetLen', '24')).rejects.toMatchObject({
      code: 'network-config',
      message: expect.stringMatching(
        /no JSON object.*; for example rudder config set '\{"Network":.*' --etcd-prefix \/x/,
      ),
    });
    await set(JSON_TEXT);
    expect(printed[0]).toMatch(/^Plan for \/x\/config, which holds no valid config, so that there is no meaning to/);
    await showHistory(store, shown, print);
    expect(printed.at(-2)).toMatch(/: in place of what was no valid config, Network is 10\.240\.0\.0\/16, /);
  });

  it('of one key can mend what is no config', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16","SubnetLen":99}');
    await set('SubnetLen', '25');
    expect(await registry.getConfig()).toBe('{"Network":"10.240.0.0/16","SubnetLen":25}');
  });

  it('keeps keys that nobody knows, and says so', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16","EnableIPv4":true}');
    await set('SubnetLen', '25');
    expect(printed[0]).toMatch(/stays as it is, and is ignored: unknown key "EnableIPv4"/);
    await set('EnableIPv4', '');
    expect(await registry.getConfig()).toBe('{"Network":"10.240.0.0/16","SubnetLen":25}');
  });
});

it('without a config rudder config get and set KEY say how to create one, and set JSON creates it', async () => {
  const problem = {
    code: 'network-config',
    message: expect.stringMatching(/create it with rudder init .* --etcd-prefix/),
  };
  await expect(getConfig(store, shown, print)).rejects.toMatchObject(problem);
  await expect(set('SubnetLen', '25')).rejects.toMatchObject(problem);
  await set(JSON_TEXT);
  expect(printed[0]).toMatch(/^Plan for \/x\/config, which is not there:/);
  expect(await registry.getConfig()).toBe(JSON_TEXT);
});

describe('rudder config get', () => {
  it('prints what is stored, what it means, and what is ignored', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16","Foo":1}');
    await getConfig(store, shown, print);
    expect(printed.join('\n')).toBe(`/x/config
{
  "Network": "10.240.0.0/16",
  "Foo": 1
}

It means:
  Network                10.240.0.0/16
  SubnetLen              24
  SubnetMin              10.240.1.0
  SubnetMax              10.240.255.0
  Backend.Type           udp
  Backend.Port           8285
  Backend.MTU            the underlay's
  Backend.DirectRouting  false
ignored: unknown key "Foo": expected one of Network, SubnetLen, SubnetMin, SubnetMax, Backend`);
  });

  it('hides secrets unless it is asked for them', async () => {
    registry.putRaw('config', '{"Network":"10.240.0.0/16","Backend":{"PSK":"hush"}}');
    for (const json of [true, false]) {
      await getConfig(store, { json, showSecrets: false }, print);
      expect(printed.join('\n')).not.toContain('hush');
      await getConfig(store, { json, showSecrets: true }, print);
      expect(printed.join('\n')).toContain('hush');
      printed = [];
    }
  });

  it('says that there is no preshared key where there is none, and when one comes', async () => {
    await registry.createConfig(JSON_TEXT, noteOf(undefined, JSON_TEXT));
    await set('{"Network":"10.240.0.0/16","Backend":{"Type":"wireguard","PSK":""}}');
    printed = [];
    await getConfig(store, shown, print);
    expect(printed.join('\n')).toMatch(/"PSK": ""[\s\S]*Backend\.PSK +none\n/);
    expect(printed.join('\n')).not.toContain('(hidden)');
    const [one, other] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString('base64'));
    for (const [key, plan] of [
      [one, 'Backend.PSK none becomes (hidden)'],
      [other, 'Backend.PSK becomes another one'],
    ]) {
      printed = [];
      await set('Backend.PSK', key);
      expect(printed[0]).toContain(`\n  ${plan}\n`);
      expect(printed.join('\n')).not.toContain(key);
    }
  });

  it('shows what is no config, on one line if it is no JSON, and says what is wrong', async () => {
    registry.putRaw('config', 'non\u001bsense');
    await expect(getConfig(store, shown, print)).rejects.toMatchObject({
      code: 'network-config',
      message: expect.stringMatching(/correct the key \/x\/config with rudder config set KEY VALUE --etcd-prefix \/x/),
    });
    expect(printed).toEqual(['/x/config\nnon sense']);
  });
});

describe('rudder config history', () => {
  it('shows the newest first, with what changed, and no secrets', async () => {
    const secret = '{"Network":"10.240.0.0/16","Backend":{"PSK":"hush"}}';
    await registry.createConfig(secret, noteOf(undefined, secret));
    await set('{"Network":"10.240.0.0/16","SubnetLen":26}');
    await registry.replaceConfig((await registry.readConfig())!.revision, '{}', 'of somebody else');
    printed = [];
    await showHistory(store, shown, print);
    const at = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC {2}\S+( \(sudo\))? on ${hostname()}`;
    expect(printed).toEqual([
      expect.stringMatching(new RegExp(`^${at}: SubnetLen 24 becomes 26, SubnetMin .* becomes .*$`)),
      expect.stringMatching(new RegExp(`^${at}: created, Network is 10.240.0.0/16, .*$`)),
    ]);
    printed = [];
    await showHistory(store, { json: true, showSecrets: false }, print);
    expect(printed[0]).not.toContain('hush');
    expect(JSON.parse(printed[0])).toMatchObject([
      { version: 2, host: hostname(), config: { SubnetLen: 26 } },
      { version: 1, config: { Backend: { PSK: '(hidden)' } } },
    ]);
    printed = [];
    await showHistory(store, { json: true, showSecrets: true }, print);
    expect(printed[0]).toContain('hush');
  });

  it('says so if there is none', async () => {
    await showHistory(store, shown, print);
    expect(printed).toEqual([expect.stringMatching(/^No version is noted/)]);
  });
});
