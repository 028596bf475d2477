import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { sealedPeers } from '../../../src/bench/sealed.js';

let bin: string;
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'rudder-path-'));
  vi.stubEnv('PATH', bin);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(bin, { recursive: true });
});

const install = (...programs: string[]) => {
  for (const program of programs) writeFileSync(join(bin, program), '');
};

it('takes what the host has', () => {
  install('wireguard-go', 'wg', 'nebula', 'nebula-cert');
  const told: string[] = [];
  expect(sealedPeers({}, (text) => told.push(text))).toEqual({
    'wireguard-go': join(bin, 'wireguard-go'),
    nebula: join(bin, 'nebula'),
  });
  expect(told).toEqual([]);
});

it('names what is left out, with the remedy', () => {
  install('wireguard-go', 'nebula', 'nebula-cert');
  const told: string[] = [];
  expect(Object.keys(sealedPeers({}, (text) => told.push(text)))).toEqual(['nebula']);
  expect(told).toEqual([
    'wireguard-go is left out: apt-get install --no-install-recommends wireguard-go wireguard-tools, or name one with --wireguard-go',
  ]);
});

it('prefers what was named', () => {
  install('nebula', 'nebula-cert');
  const peers = sealedPeers({ 'wireguard-go': '/opt/wireguard-go', nebula: '/opt/nebula' }, () => undefined);
  expect(peers).toEqual({ 'wireguard-go': '/opt/wireguard-go', nebula: '/opt/nebula' });
});
