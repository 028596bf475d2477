import { hostname } from 'node:os';
import type { Command } from 'commander';
import { OFFLOADS, type Offload } from '../backend/packet-path/tables/offloads.js';
import { IMPLEMENTATIONS, type ImplementationChoice } from '../backend/wireguard/implementations.js';
import type { SharedRegistry } from '../control/open.js';
import { RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4 } from '../core/ipv4.js';
import { isHostName } from '../core/lease.js';
import { MAX_MTU, MIN_MTU } from '../core/network-config.js';
import type { DaemonOptions } from '../daemon/options.js';
import { LOG_LEVELS } from '../ops/logger.js';
import { storeSettingsOf } from './node-store.js';
import { option } from './option.js';
import { type RawRegistryOptions, toRegistryOptions } from './registry-options.js';
import * as values from './values.js';

/** What commander hands over once these options and those of etcd are parsed. */
export interface RawDaemonOptions extends RawRegistryOptions {
  iface?: string[];
  ifaceRegex?: RegExp[];
  ifaceCanReach?: Ipv4;
  nodeName?: string;
  publicIp?: Ipv4;
  portMapped: boolean;
  subnetFile: string;
  subnetEnvPrefix: string;
  subnetProposal: boolean;
  cniConf?: string;
  stateDir: string;
  leaseTtl: number;
  mtu?: number;
  sourceCheck: 'strict' | 'off';
  cipher: 'auto' | 'portable';
  wireguardImplementation?: ImplementationChoice;
  disableOffload?: Offload[];
  ipMasq: boolean;
  firewall: boolean;
  probes: boolean;
  summary: boolean;
  cleanupOnExit: boolean;
  healthzIp: Ipv4;
  healthzPort: number;
  logLevel: string;
}

export function addDaemonOptions(command: Command): Command {
  return command
    .addOption(
      option('--iface <name|address>', 'underlay interface; may be repeated, the first match wins').argParser(
        values.parseInterfaces,
      ),
    )
    .addOption(
      option('--iface-regex <pattern>', 'underlay interface by pattern on its address, then its name').argParser(
        values.parseRegexes,
      ),
    )
    .addOption(
      option('--iface-can-reach <address>', 'underlay interface that leads to this address').argParser(
        values.parseHostAddress,
      ),
    )
    .addOption(
      option('--node-name <name>', 'what people call the node; default: the name of the host').argParser(
        values.parseHostName,
      ),
    )
    .addOption(
      option('--public-ip <address>', "address that peers send to, if not the interface's own").argParser(
        values.parseHostAddress,
      ),
    )
    .addOption(
      option('--port-mapped [boolean]', 'a NAT before this host changes the ports of what it sends: peers let it')
        .argParser(values.parseBoolean)
        .preset('true')
        .default(false),
    )
    .addOption(
      option('--subnet-file <file>', 'where Docker finds subnet and MTU')
        .argParser(values.parsePath)
        .default('/run/rudder/subnet.env'),
    )
    .addOption(
      option('--subnet-env-prefix <name>', 'prefix of the names in the subnet file')
        .argParser(values.parseEnvPrefix)
        .default('RUDDER'),
    )
    .addOption(
      option('--subnet-proposal [boolean]', 'do not write the subnet file but a proposal for root\'s "rudder publish"')
        .argParser(values.parseBoolean)
        .preset('true')
        .default(false),
    )
    .addOption(
      option(
        '--cni-conf <file>',
        'write the CNI configuration of pods, such as /etc/cni/net.d/10-rudder.conflist',
      ).argParser(values.parsePath),
    )
    .addOption(
      option('--state-dir <directory>', 'what the node remembers over reboots')
        .argParser(values.parsePath)
        .default('/var/lib/rudder'),
    )
    .addOption(
      option('--lease-ttl <time>', 'how long a silent node keeps its subnet, such as 24h or 90s')
        .argParser(values.parseLeaseTtl)
        .default(86_400, '24h'),
    )
    .addOption(
      option('--mtu <bytes>', 'MTU of the tunnel; default: of the config, else what fits the underlay').argParser(
        values.parseWholeNumber(MIN_MTU, MAX_MTU),
      ),
    )
    .addOption(
      option('--source-check <mode>', 'whether a peer may only send from its own subnet')
        .choices(['strict', 'off'])
        .default('strict'),
    )
    .addOption(
      option(
        '--disable-offload <names>',
        `offloads not to use, separated by commas: all, or of ${OFFLOADS.join(', ')}`,
      ).argParser(values.parseOffloads),
    )
    .addOption(
      option('--cipher <code>', 'code that encrypts: auto is the fastest that this CPU has')
        .choices(['auto', 'portable'])
        .default('auto'),
    )
    .addOption(
      option(
        '--wireguard-implementation <name>',
        "whose WireGuard encrypts; default: of the config, else auto, the kernel's where it has one",
      ).choices(IMPLEMENTATIONS),
    )
    .addOption(
      option('--ip-masq [boolean]', 'masquerade what containers send to the outside of the overlay')
        .argParser(values.parseBoolean)
        .preset('true')
        .default(false),
    )
    .addOption(
      option('--no-firewall [boolean]', 'leave the firewall alone: no rules are set, kept or removed')
        .argParser(values.parseNegated)
        .preset('true')
        .default(true, 'false'),
    )
    .addOption(
      option('--no-probes [boolean]', 'do not ask peers whether they are there: only what is heard anyway counts')
        .argParser(values.parseNegated)
        .preset('true')
        .default(true, 'false'),
    )
    .addOption(
      option('--no-summary [boolean]', 'tell other nodes nothing, and ask them nothing, of how the network is')
        .argParser(values.parseNegated)
        .preset('true')
        .default(true, 'false'),
    )
    .addOption(
      option('--cleanup-on-exit [boolean]', 'remove device, firewall rules, subnet file and lease on a clean stop')
        .argParser(values.parseBoolean)
        .preset('true')
        .default(false),
    )
    .addOption(
      option('--healthz-ip <address>', 'address for /healthz, /readyz, /metrics and /status')
        .argParser(values.parseListenAddress)
        .default(0x7f000001, '127.0.0.1'),
    )
    .addOption(
      option('--healthz-port <port>', 'their port; 0: not served')
        .argParser(values.parseWholeNumber(0, 65_535))
        .default(0),
    )
    .addOption(option('--log-level <level>', 'least level that is logged').choices(LOG_LEVELS).default('info'));
}

/** @throws RudderError as {@link toRegistryOptions} */
export function toDaemonOptions(raw: RawDaemonOptions): DaemonOptions & { registry: SharedRegistry; logLevel: string } {
  if (raw.ipMasq && !raw.firewall) {
    throw new RudderError(
      'usage',
      '--ip-masq and --no-firewall are both given: expected one of them, since masquerading takes firewall rules',
    );
  }
  const registry = toRegistryOptions(raw);
  return {
    registry,
    store: storeSettingsOf(raw),
    underlay: { iface: raw.iface ?? [], ifaceRegex: raw.ifaceRegex ?? [], canReach: raw.ifaceCanReach },
    nodeName: raw.nodeName ?? nameOf(registry) ?? (isHostName(hostname()) ? hostname() : undefined),
    publicIp: raw.publicIp,
    portMapped: raw.portMapped,
    subnetFile: raw.subnetFile,
    subnetEnvPrefix: raw.subnetEnvPrefix,
    subnetProposal: raw.subnetProposal,
    cniConf: raw.cniConf,
    stateDir: raw.stateDir,
    leaseTtlSeconds: raw.leaseTtl,
    mtu: raw.mtu,
    checkSource: raw.sourceCheck === 'strict',
    cipher: raw.cipher,
    wireguardImplementation: raw.wireguardImplementation,
    offloads: new Set(OFFLOADS.filter((name) => !raw.disableOffload?.includes(name))),
    ipMasq: raw.ipMasq,
    firewall: raw.firewall,
    probes: raw.probes,
    summary: raw.summary,
    cleanupOnExit: raw.cleanupOnExit,
    healthz: raw.healthzPort === 0 ? undefined : { address: formatIpv4(raw.healthzIp), port: raw.healthzPort },
    logLevel: raw.logLevel,
  };
}

/** A Node of Kubernetes has a name already. */
function nameOf(registry: SharedRegistry): string | undefined {
  return registry.kind === 'kubernetes' && isHostName(registry.nodeName) ? registry.nodeName : undefined;
}
