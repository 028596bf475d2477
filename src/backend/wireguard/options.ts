import { z } from 'zod';
import { integer, type NetworkConfig } from '../../core/network-config.js';
import { parseOptions } from '../options.js';
import { IMPLEMENTATIONS, type ImplementationChoice } from './implementations.js';
import { parseKeyText } from './protocol/keys.js';
import { DATA_OVERHEAD_BYTES } from './protocol/messages.js';
import { hash } from './protocol/primitives.js';

/** The port that flannel listens on too. */
const DEFAULT_PORT = 51820;
/** As flannel counts: IPv6 header (40) and UDP header (8), so that one MTU fits all underlays, and what is WireGuard's own. */
export const WIREGUARD_OVERHEAD_BYTES = 40 + 8 + DATA_OVERHEAD_BYTES;
/** Inside there has to be room for the smallest MTU of IPv4, 68. */
const MIN_OUTER_MTU = 68 + WIREGUARD_OVERHEAD_BYTES;
const MAX_OUTER_MTU = 65_535;
/** What a keepalive of flannel's may be at most: Go's time.Duration of seconds, as the kernel takes it. */
const MAX_KEEPALIVE_SECONDS = 65_535;
const MODES = ['separate', 'auto', 'ipv4', 'ipv6'] as const;

export const keys = [
  'PSK',
  'ListenPort',
  'ListenPortV6',
  'MTU',
  'Mode',
  'PersistentKeepaliveInterval',
  'Implementation',
];

const oneOf = <const T extends readonly string[]>(names: T) =>
  z.enum(names, `expected one of ${names.map((name) => `"${name}"`).join(', ')}`).nullish();

const NO_KEY: Buffer = Buffer.alloc(32);
const options = z.object({
  psk: z
    .string('expected a key of 32 bytes in base64, as `wg genpsk` makes it')
    .refine((text) => text === '' || parseKeyText(text) !== undefined, {
      error: 'expected a key of 32 bytes in base64, as `wg genpsk` makes it',
    })
    .nullish(),
  listenport: integer(0, 65_535),
  listenportv6: integer(0, 65_535),
  /** Of the underlay, as flannel has it. */
  mtu: integer(MIN_OUTER_MTU, MAX_OUTER_MTU),
  mode: oneOf(MODES),
  persistentkeepaliveinterval: integer(0, MAX_KEEPALIVE_SECONDS),
  implementation: oneOf(IMPLEMENTATIONS),
});

export interface WireguardOptions {
  readonly presharedKey: Buffer;
  readonly port: number;
  /** Of the underlay; undefined: the interface's. */
  readonly outerMtu: number | undefined;
  readonly keepaliveSeconds: number;
  readonly implementation: ImplementationChoice;
  /** All of them, to be shown and compared: what the preshared key is, they do not say. */
  readonly fields: Readonly<Record<string, string | number | boolean>>;
}

/** @throws RudderError `network-config` naming the option, and never what the preshared key is */
export function optionsOf(config: NetworkConfig): WireguardOptions {
  const given = parseOptions(options, config.backend, keys);
  const presharedKey = parseKeyText(given.psk) ?? NO_KEY;
  const port = given.listenport || DEFAULT_PORT;
  const outerMtu = given.mtu ?? undefined;
  const keepaliveSeconds = given.persistentkeepaliveinterval ?? 0;
  const implementation = given.implementation ?? 'auto';
  const fields = {
    PSK: presharedKey === NO_KEY ? 'none' : fingerprintOf(presharedKey),
    ListenPort: port,
    MTU: outerMtu ?? "the underlay's",
    // What the other modes are about is IPv6, which is not carried.
    Mode: given.mode ?? 'separate',
    PersistentKeepaliveInterval: keepaliveSeconds,
    Implementation: implementation,
  };
  return { presharedKey, port, outerMtu, keepaliveSeconds, implementation, fields };
}

/** So that another key can be told from the same: of 256 random bits nothing can be found out by it. */
const fingerprintOf = (key: Buffer) =>
  `a key (${hash(Buffer.from('rudder psk fingerprint'), key).toString('hex', 0, 4)})`;
