import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { enableOffloads, watchOffloads } from '../../../../src/backend/packet-path/offload-probe.js';
import * as offloadNumbers from '../../../../src/backend/packet-path/tables/offloads.js';
import { OFFLOADS, type Offload, UDP_GSO } from '../../../../src/backend/packet-path/tables/offloads.js';
import { superPacketProbe } from '../../../../src/backend/packet-path/wire/super-packet-probe.js';
import { GSO_TCP4, GSO_UDP, VNET_BYTES } from '../../../../src/system/native.js';
import { headerChecksumIsRight } from '../../../helpers/packets.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

it('each offload has a number, by its name', () => {
  const numbers = Object.entries(offloadNumbers).filter(([, value]) => typeof value === 'number');
  expect(numbers).toHaveLength(OFFLOADS.length);
  for (const [name, number] of numbers) {
    expect(OFFLOADS[number as number]).toBe(name.toLowerCase().replaceAll('_', '-'));
  }
});

const handles = { tun: 3, udp: 4 };
const refuse = () => {
  throw new Error('EINVAL');
};

/** A kernel that has every offload but what the test takes away. */
function probe(
  missing: Partial<Record<'tso' | 'uso' | 'gso' | 'gro' | 'tcp' | 'udp' | 'ring', true>>,
  wanted = [...OFFLOADS],
) {
  const log = createRecordingLog();
  const inUse = new Int32Array(OFFLOADS.length);
  const asked: number[] = [];
  const native = {
    setTunOffload(_: number, bits: number) {
      if ((missing.tso && (bits & 0x02) !== 0) || (missing.uso && (bits & 0x60) !== 0)) refuse();
      asked.push(bits);
    },
    probeUdpGso: () => void (missing.gso && refuse()),
    setUdpGro: () => void (missing.gro && refuse()),
    probeRing: () => void (missing.ring && refuse()),
  };
  const writeTun = (message: Uint8Array) => {
    if ((message[1] === GSO_TCP4 && missing.tcp) || (message[1] === GSO_UDP && missing.udp)) refuse();
  };
  enableOffloads({ native, writeTun }, handles, inUse, new Set<Offload>(wanted), log);
  const on = OFFLOADS.filter((_, i) => inUse[i] === 1);
  return { on, asked, log };
}

describe('the offloads', () => {
  it('are all in use where the kernel has them all', () => {
    const { on, asked, log } = probe({});
    expect(on).toEqual([...OFFLOADS]);
    // From nothing, whatever an earlier owner asked for: checksum, TSO with ECN, then both USO bits together.
    expect(asked).toEqual([0, 0x0b, 0x6b]);
    expect(log.lines).toEqual([
      { level: 'info', message: 'offloads', fields: Object.fromEntries(OFFLOADS.map((name) => [name, 'on'])) },
    ]);
  });

  it.each([
    ['tso', 'tun-tso', [0, 0x61]],
    ['uso', 'tun-uso', [0, 0x0b]],
    ['tcp', 'tun-gro-tcp', [0, 0x0b, 0x6b]],
    ['udp', 'tun-gro-udp', [0, 0x0b, 0x6b]],
    ['gso', 'udp-gso', [0, 0x0b, 0x6b]],
    ['gro', 'udp-gro', [0, 0x0b, 0x6b]],
    ['ring', 'io-uring', [0, 0x0b, 0x6b]],
  ] as const)('do without %s where the kernel refuses it, and say so', (missing, name, bits) => {
    const { on, asked, log } = probe({ [missing]: true });
    expect(on).toEqual(OFFLOADS.filter((offload) => offload !== name));
    expect(asked).toEqual(bits);
    expect(log.lines[0].fields).toMatchObject({ [name]: 'not supported: EINVAL' });
  });

  it('stay off where the user says so, and are not even probed', () => {
    const { on, asked, log } = probe({ tcp: true, gso: true }, ['udp-gro']);
    expect(on).toEqual(['udp-gro']);
    expect(asked).toEqual([0]);
    expect(log.lines[0].fields).toMatchObject({ 'tun-gro-tcp': 'off by option', 'udp-gso': 'off by option' });
  });

  it.each([
    ['TCP', GSO_TCP4],
    ['UDP', GSO_UDP],
  ])('are probed with a %s super-packet that no host takes for its own', (_, type) => {
    const packet = superPacketProbe(type).subarray(VNET_BYTES);
    expect(headerChecksumIsRight(packet)).toBe(false);
  });
});

describe('an offload lowered at run time', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('is told once', () => {
    const log = createRecordingLog();
    const inUse = new Int32Array(OFFLOADS.length).fill(1);
    const watch = watchOffloads(inUse, log);
    vi.advanceTimersByTime(5000);
    expect(log.lines).toEqual([]);
    inUse[UDP_GSO] = 0;
    vi.advanceTimersByTime(5000);
    expect(log.lines).toMatchObject([{ level: 'warn', fields: { offload: 'udp-gso' } }]);
    watch.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});
