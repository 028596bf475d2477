import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MAX_MESSAGE_LENGTH, messageOf, RudderError } from '../../../src/core/errors.js';
import { formatSubnet, subnetOf } from '../../../src/core/subnet.js';
import { loadState, saveState } from '../../../src/state/node-state.js';
import { formatSubnetEnv } from '../../../src/state/subnet-env.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rudder-files-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const anyNetwork = fc
  .tuple(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.integer({ min: 8, max: 30 }))
  .map(([address, length]) => subnetOf(address, length));

const stateText = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.json().map((text) => Buffer.from(text)),
  fc
    .record({ nodeId: fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), fc.jsonValue()), subnet: fc.jsonValue() })
    .map((value) => Buffer.from(JSON.stringify(value))),
  fc.nat(300_000).map((size) => Buffer.alloc(size, '[')),
  // What a crash of another program, or of the disk, leaves: the first part, or zeroes.
  fc.nat(60).map((length) => Buffer.from('{"nodeId":"node-1","subnet":"10.240.26.0/24"}').subarray(0, length)),
  fc.nat(60).map((length) => Buffer.alloc(length)),
);

it('a state file of any bytes gives a usable state, and one line if it was corrupt', async () => {
  await fc.assert(
    fc.asyncProperty(stateText, async (bytes) => {
      writeFileSync(join(directory, 'state.json'), bytes);
      const log = createRecordingLog();
      const state = await loadState(directory, log);
      expect(state.nodeId.length).toBeGreaterThan(0);
      expect(state.nodeId.length).toBeLessThanOrEqual(128);
      expect(log.lines.length).toBeLessThanOrEqual(1);
      // What was made of it can be kept, and read again as the same.
      await saveState(directory, state);
      expect(await loadState(directory, log)).toEqual(state);
    }),
    { numRuns: 300 },
  );
});

it('a state file that is no file is one line', async () => {
  const error = await loadState('/proc/self/mem/x'.repeat(500), createRecordingLog()).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(RudderError);
  expect(messageOf(error).length).toBeLessThanOrEqual(MAX_MESSAGE_LENGTH);
});

it('a subnet file is what a shell reads, for any subnet', () => {
  const texts: string[] = [];
  const prefixes = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,63}$/);
  fc.assert(
    fc.property(
      anyNetwork,
      anyNetwork,
      fc.integer({ min: 68, max: 65_507 }),
      fc.boolean(),
      prefixes,
      (subnet, network, mtu, ipMasq, prefix) => {
        const text = formatSubnetEnv({ subnet, network, mtu, ipMasq }, prefix);
        const quad = '(25[0-5]|2[0-4]\\d|1?\\d?\\d)';
        const address = `(${quad}\\.){3}${quad}/\\d{1,2}`;
        expect(text).toMatch(
          new RegExp(
            `^${prefix}_SUBNET=${address}\n${prefix}_MTU=${mtu}\n${prefix}_NETWORK=${address}\n${prefix}_IPMASQ=${ipMasq}\n$`,
          ),
        );
        expect(text).toContain(`_NETWORK=${formatSubnet(network)}\n`);
        texts.push(text);
      },
    ),
  );
  const read = execFileSync('sh', ['-eu', '-c', `${texts[0]}set`], { encoding: 'utf8' });
  for (const line of texts[0].trim().split('\n')) expect(read).toContain(line.split('=')[1]);
});
