import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseIpv4, parseSubnet } from '../../../src/core/address-text.js';
import type { LastKnown } from '../../../src/core/last-known.js';
import { loadLastKnown, saveLastKnown } from '../../../src/state/last-known-file.js';
import { udp } from '../../helpers/leases.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

const subnet = (text: string) => parseSubnet(text)!;
const ip = (text: string) => parseIpv4(text)!;
const known: LastKnown = {
  source: 'http://127.0.0.1:2379/x',
  configJson: '{"Network":"10.42.0.0/16"}',
  nodeId: 'me',
  publicIp: ip('192.0.2.7'),
  subnet: subnet('10.42.7.0/24'),
  holding: { revision: 5, ttlId: '7587' },
  validUntil: null,
  ttlSeconds: 60,
  savedAt: 1_000_000,
  keyDiffers: false,
  peers: [
    { subnet: subnet('10.42.8.0/24'), publicIp: ip('192.0.2.8'), nodeId: 'peer', backend: udp(true) },
    { subnet: subnet('10.42.9.0/24'), publicIp: ip('192.0.2.9'), nodeId: undefined, backend: udp(), reserved: true },
  ],
};

let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'last-known-'));
  await saveLastKnown(directory, known);
});
afterEach(() => rmSync(directory, { recursive: true }));

it('what was saved is loaded', async () => {
  const log = createRecordingLog();
  expect(await loadLastKnown(directory, log)).toEqual(known);
  expect(log.lines).toEqual([]);
});

it.each([0, 1, 199, 200, 201, 1000])('what was saved of %i peers is loaded', async (count) => {
  const peers = Array.from({ length: count }, (_, i) => ({
    ...known.peers[0],
    publicIp: ip(`198.51.${i >> 8}.${i & 255}`),
  }));
  await saveLastKnown(directory, { ...known, peers });
  expect((await loadLastKnown(directory, createRecordingLog()))?.peers).toEqual(peers);
});

it('of a version that knew of no mapped ports is loaded too', async () => {
  const path = join(directory, 'last-known.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(/,"backend":\{"type":"udp","data":\{.*?\}\}/g, ''));
  const loaded = await loadLastKnown(directory, createRecordingLog());
  expect(loaded?.peers.map(({ backend }) => backend)).toEqual([udp(), udp()]);
});

it('of a version that knew of udp alone is loaded too', async () => {
  const path = join(directory, 'last-known.json');
  const text = readFileSync(path, 'utf8');
  writeFileSync(
    path,
    text
      .replace('"backend":{"type":"udp","data":{"PortMapped":true}}', '"portMapped":true')
      .replace('"backend":{"type":"udp","data":{}}', '"portMapped":false'),
  );
  expect((await loadLastKnown(directory, createRecordingLog()))?.peers).toEqual(known.peers);
});

it('of a version that knew of etcd alone is loaded too', async () => {
  const path = join(directory, 'last-known.json');
  const earlier = '"revision":5,"ttlId":"7587"';
  writeFileSync(path, readFileSync(path, 'utf8').replace(`"holding":{${earlier}}`, earlier));
  expect(readFileSync(path, 'utf8')).not.toContain('holding');
  expect(await loadLastKnown(directory, createRecordingLog())).toEqual(known);
});

it('of a version that saved neither TTL nor time is loaded too', async () => {
  const path = join(directory, 'last-known.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(/,"(ttlSeconds|savedAt)":\d+|,"keyDiffers":false/g, ''));
  const loaded = await loadLastKnown(directory, createRecordingLog());
  expect(loaded).toEqual({ ...known, ttlSeconds: undefined, savedAt: undefined });
});

it.each([
  ['a peer outside the Network', '10.42.8.0/24', '10.43.8.0/24', /subnet 10\.43\.8\.0\/24 is outside Network/],
  ['a peer of a smaller subnet', '10.42.8.0/24', '10.42.8.0/25', /10\.42\.8\.0\/25 is smaller than SubnetLen/],
  ['an own subnet of another length', '10.42.7.0/24', '10.42.4.0/22', /own subnet 10\.42\.4\.0\/22 has another length/],
  ['a peer that is reached inside the overlay', '192.0.2.8', '10.42.9.1', /PublicIP 10\.42\.9\.1 lies inside/],
  ['an own subnet outside the Network', '10.42.7.0/24', '10.43.7.0/24', /subnet 10\.43\.7\.0\/24 is outside Network/],
  ['a config that makes no sense', '10.42.0.0/16', '10.42.0.0/33', /10\.42\.0\.0\/33/],
  ['an address that is none', '192.0.2.9', '192.0.2.999', /no IPv4 address/],
  ['a backend that is none', '"data":{"PortMapped":true}', '"data":7', /record/],
  ['a time that is none', '"savedAt":1000000', '"savedAt":"now"', /number/],
  ['a TTL that is none', '"ttlSeconds":60', '"ttlSeconds":-60', /0/],
  ['no node id', '"nodeId":"me",', '', /nodeId|string/],
])('%s makes it unreadable, with one word about why', async (_, from, to, reason) => {
  const path = join(directory, 'last-known.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(from, to));
  const log = createRecordingLog();
  expect(await loadLastKnown(directory, log)).toBeUndefined();
  expect(log.lines).toMatchObject([
    { level: 'warn', fields: { reason: expect.stringMatching(reason) }, message: /cannot be read/ },
  ]);
});
