import type { SharedMemory } from '../../src/backend/packet-path/tables/memory.js';
import type { Ipv4 } from '../../src/core/ipv4.js';
import type { Native } from '../../src/system/native.js';

/** A packet path, and what is at both of its ends. */
export interface CaseHost {
  readonly native: Native;
  readonly memory: SharedMemory;
  /** Resolves when something can be read there. */
  readable(from: 'tun' | 'udp'): Promise<void>;
  /** UDP datagrams with these payloads, sent by this host's stack into the device. */
  fromHost(payloads: readonly string[]): Promise<void>;
  /** A UDP super-packet of so many letters "a". */
  superFromHost(bytes: number, segment: number): Promise<void>;
  /** An IPv4 packet with this UDP payload, for a socket of this host's. */
  packetToHost(payload: string): Uint8Array;
  /** Payloads that this socket has received, as soon as there are so many. */
  hostReceived(count: number): Promise<string[]>;
  /** Another socket, beyond ours. */
  readonly far: { readonly address: Ipv4; readonly port: number };
  fromFar(payloads: readonly string[]): Promise<void>;
  farReceived(count: number): Promise<string[]>;
}

export interface PathCase {
  readonly name: string;
  readonly expected: unknown;
  run(host: CaseHost): Promise<unknown>;
}

export const cases: readonly PathCase[];
