import { messageOf } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import {
  GSO_TCP4,
  GSO_UDP,
  type Native,
  OFFLOAD_CHECKSUM,
  OFFLOAD_TSO_ECN,
  OFFLOAD_TSO4,
  OFFLOAD_USO,
  type PathHandles,
} from '../../system/native.js';
import {
  IO_URING,
  OFFLOADS,
  type Offload,
  TUN_GRO_TCP,
  TUN_GRO_UDP,
  TUN_TSO,
  TUN_USO,
  UDP_GRO,
  UDP_GSO,
} from './tables/offloads.js';
import { superPacketProbe } from './wire/super-packet-probe.js';

/** What probing needs of the system. */
export interface OffloadSystem {
  readonly native: Pick<Native, 'setTunOffload' | 'probeUdpGso' | 'setUdpGro' | 'probeRing'>;
  /** Writes one message to the TUN device, which must be up. @throws what the kernel says */
  writeTun(message: Uint8Array): void;
}

/**
 * Switches on what is wanted and there, and sets `inUse` (1 or 0 for each) accordingly.
 * @param wanted all but those that the user has switched off
 */
export function enableOffloads(
  { native, writeTun }: OffloadSystem,
  { tun, udp }: Pick<PathHandles, 'tun' | 'udp'>,
  inUse: Int32Array,
  wanted: ReadonlySet<Offload>,
  log: Logger,
): void {
  const states: Record<string, string> = {};
  inUse.fill(0);
  function enable(offload: number, attempt: () => void): void {
    const name = OFFLOADS[offload];
    if (!wanted.has(name)) {
      states[name] = 'off by option';
      return;
    }
    try {
      attempt();
      inUse[offload] = 1;
      states[name] = 'on';
    } catch (error) {
      states[name] = `not supported: ${messageOf(error)}`;
    }
  }
  let bits = 0;
  function add(more: number): void {
    native.setTunOffload(tun, bits | more);
    bits |= more;
  }
  // A persistent device may still have what its last owner asked for.
  native.setTunOffload(tun, 0);
  enable(TUN_TSO, () => add(OFFLOAD_CHECKSUM | OFFLOAD_TSO4 | OFFLOAD_TSO_ECN));
  enable(TUN_USO, () => add(OFFLOAD_CHECKSUM | OFFLOAD_USO));
  enable(TUN_GRO_TCP, () => writeTun(superPacketProbe(GSO_TCP4)));
  enable(TUN_GRO_UDP, () => writeTun(superPacketProbe(GSO_UDP)));
  enable(UDP_GSO, () => native.probeUdpGso(udp));
  enable(UDP_GRO, () => native.setUdpGro(udp, 1));
  enable(IO_URING, () => native.probeRing(tun));
  log.info(states, 'offloads');
}

const WATCH_INTERVAL_MS = 1000;

/** Tells once of each offload that the worker has lowered: the kernel refused it, packets go on without. */
export function watchOffloads(inUse: Int32Array, log: Logger): { stop(): void } {
  const before = Int32Array.from(inUse);
  const timer = setInterval(() => {
    OFFLOADS.forEach((offload, i) => {
      if (before[i] === inUse[i]) return;
      before[i] = inUse[i];
      log.warn({ offload }, `the kernel refused ${offload} at run time: packets go on without it, more slowly`);
    });
  }, WATCH_INTERVAL_MS);
  return { stop: () => clearInterval(timer) };
}
