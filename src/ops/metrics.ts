import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import type { HistogramCounts } from '../core/histogram.js';
import { PEER_STATES } from '../core/peer-state.js';
import { watchLoopDelay } from './loop-delay.js';
import {
  CONFIG_STATES,
  dropOf,
  type ForwardingStatus,
  type PacketPathStatus,
  type PeerStatus,
  type Status,
} from './status.js';

/** Peers with series of their own. */
const MOST_PEERS_TOLD = 250;

/** Counters of the packet path that are totals of a direction; drops are told apart by their names. */
const TOTALS: Record<string, { name: string; help: string; direction: 'out' | 'in' }> = {
  out_packets: { name: 'rudder_packets_total', help: 'Packets carried.', direction: 'out' },
  in_packets: { name: 'rudder_packets_total', help: 'Packets carried.', direction: 'in' },
  out_bytes: { name: 'rudder_bytes_total', help: 'Bytes of the packets carried.', direction: 'out' },
  in_bytes: { name: 'rudder_bytes_total', help: 'Bytes of the packets carried.', direction: 'in' },
  out_keepalives: { name: 'rudder_keepalives_total', help: 'Empty messages that keep sessions.', direction: 'out' },
  in_keepalives: { name: 'rudder_keepalives_total', help: 'Empty messages that keep sessions.', direction: 'in' },
  in_handshakes: { name: 'rudder_handshakes_total', help: 'Messages of handshakes received.', direction: 'in' },
  out_datagrams: {
    name: 'rudder_messages_total',
    help: 'Messages handed to the kernel: fewer than packets where offloads are in use.',
    direction: 'out',
  },
  in_writes: {
    name: 'rudder_messages_total',
    help: 'Messages handed to the kernel: fewer than packets where offloads are in use.',
    direction: 'in',
  },
};

/** The node's state in Prometheus' text format; while it starts, only that of its process. */
export function createMetrics(): { readonly contentType: string; text(status: Status | undefined): Promise<string> } {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // Gauges that are called totals, which promtool rightly refuses; the same by type are there too.
  for (const kind of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, { counts: HistogramCounts | undefined }>();
  const loopDelay = watchLoopDelay();

  /** Counts that live elsewhere: the whole is set at each scrape. */
  function total(name: string, help: string, value: number, labels: Record<string, string> = {}): void {
    let counter = counters.get(name);
    if (counter === undefined) {
      counter = new Counter({ name, help, labelNames: Object.keys(labels), registers: [registry] });
      counters.set(name, counter);
    }
    counter.inc(labels, value);
  }

  function gauge(name: string, help: string, value: number, labels: Record<string, string> = {}): void {
    let found = gauges.get(name);
    if (found === undefined) {
      found = new Gauge({ name, help, labelNames: Object.keys(labels), registers: [registry] });
      gauges.set(name, found);
    }
    found.set(labels, value);
  }

  /** As above: prom-client's own histograms are for what is measured here. */
  function histogram(name: string, help: string, counts: HistogramCounts): void {
    let found = histograms.get(name);
    if (found === undefined) {
      const held: { counts: HistogramCounts | undefined } = { counts };
      const get = async () => ({ name, help, type: 'histogram', values: seriesOf(name, held.counts) });
      registry.registerMetric({ name, get } as unknown as Metric);
      histograms.set(name, held);
      found = held;
    }
    found.counts = counts;
  }

  function times({ latencies }: Status): void {
    const probes = 'How long echoes through the overlay were away, of all peers.';
    histogram('rudder_probe_rtt_seconds', probes, latencies.probes);
    const requests = 'How long requests to the registry took, also those that failed.';
    if (latencies.registry !== null) histogram('rudder_registry_request_seconds', requests, latencies.registry);
    histogram('rudder_loop_delay_seconds', 'How late the event loop of the main thread was.', loopDelay());
  }

  function packetPath(packetPath: PacketPathStatus): void {
    for (const [name, value] of Object.entries(packetPath.counters)) {
      const known = TOTALS[name];
      const drop = dropOf(name);
      if (known !== undefined) total(known.name, known.help, value, { direction: known.direction });
      else if (drop !== undefined) total('rudder_drops_total', 'Packets dropped, by reason.', value, { ...drop });
    }
    const { out_icmp_packets, out_icmp_suppressed, offload_fallbacks } = packetPath.counters;
    total('rudder_icmp_errors_total', 'ICMP errors sent to local senders.', out_icmp_packets);
    total('rudder_icmp_errors_suppressed_total', 'ICMP errors not sent, to stay below the limit.', out_icmp_suppressed);
    total('rudder_offload_fallbacks_total', 'Times the kernel refused an offload at run time.', offload_fallbacks);
    gauge('rudder_packet_path_heartbeat_seconds', 'Since the packet path last ran.', packetPath.heartbeatSeconds);
  }

  function control({
    lease,
    registry,
    config,
    firewall,
    device,
    peers,
    ignoredLeases,
    problems,
    offloads,
    backend,
    node,
    version,
  }: Status): void {
    gauge('rudder_info', 'Always 1; what the node is, as labels.', 1, { version, subnet: node.subnet });
    gauge('rudder_ready', 'Whether /readyz answers 200.', problems.length === 0 ? 1 : 0);
    gauge('rudder_device_up', "Whether the overlay's device is up.", device.up ? 1 : 0);
    total(
      'rudder_device_repairs_total',
      "Times that the overlay's device or its routes were not as they have to be and were put right.",
      device.repairs,
    );
    if (lease.remainingSeconds !== null && lease.ttlSeconds !== null) {
      gauge('rudder_lease_remaining_seconds', 'Until the lease runs out unless renewed.', lease.remainingSeconds);
      gauge('rudder_lease_ttl_seconds', 'How long the lease lives from one renewal on.', lease.ttlSeconds);
    }
    gauge(
      'rudder_lease_key_written',
      'Whether the own key is as it was written, as last read.',
      lease.key === 'written' ? 1 : 0,
    );
    total('rudder_lease_recoveries_total', 'Times the own lease had to be created anew.', lease.recoveries);
    gauge('rudder_registry_watch_current', 'Whether the watch on the registry is up.', registry.current ? 1 : 0);
    for (const { file, notAfter } of registry.certificates) {
      const help = 'When a certificate that the registry is spoken to with ends, in seconds since 1970.';
      gauge('rudder_registry_certificate_expiry_timestamp_seconds', help, Date.parse(notAfter) / 1000, { file });
    }
    if (registry.lastContactSeconds !== null) {
      gauge(
        'rudder_registry_last_contact_seconds',
        'Since the registry last told anything.',
        registry.lastContactSeconds,
      );
    }
    for (const state of CONFIG_STATES) {
      const help = 'The stored network config, compared with the one in use: 1 for what it is.';
      gauge('rudder_network_config', help, config.state === state ? 1 : 0, { state });
    }
    gauge('rudder_firewall_kept', 'Whether the firewall rules are being kept.', firewall.kept ? 1 : 0);
    total('rudder_firewall_repairs_total', 'Times firewall rules had to be put back.', firewall.repairs);
    const skipped = peers.filter(({ problem }) => problem !== null).length;
    gauge('rudder_peers', 'Nodes that packets are sent to.', peers.length - skipped);
    gauge('rudder_peers_skipped', 'Nodes whose address is no way to them: see rudder status.', skipped);
    health(peers);
    gauge(
      'rudder_leases_ignored',
      'Keys below the prefix that are no leases here: see rudder status.',
      ignoredLeases.count,
    );
    if (firewall.forwarding !== null) passage(firewall.forwarding);
    if (backend.kernel !== null) {
      const help =
        'Routes, neighbours, forwarding entries and peers of WireGuard for the peers, wanted and present in the kernel.';
      gauge('rudder_kernel_entries', help, backend.kernel.wanted, { state: 'wanted' });
      gauge('rudder_kernel_entries', help, backend.kernel.present, { state: 'present' });
    }
    if (backend.direct !== null) {
      gauge('rudder_peers_direct', 'Peers that are reached without the tunnel (DirectRouting).', backend.direct);
    }
    if (backend.cipher) {
      gauge('rudder_cipher_info', 'Always 1; which implementation of the cipher runs.', 1, { cipher: backend.cipher });
      const up = peers.filter(({ session }) => session?.state === 'up').length;
      gauge('rudder_peers_with_session', 'Nodes that there are keys in use with.', up);
      const help = 'By how much the clock is behind what peers were told before it was set back.';
      gauge('rudder_clock_behind_seconds', help, backend.clockBehindSeconds ?? 0);
    }
    for (const [offload, state] of Object.entries(offloads)) {
      gauge('rudder_offload_in_use', "Whether the kernel's offload is in use.", state === 'on' ? 1 : 0, { offload });
    }
  }

  /** Of a large cluster those alone that are not well, and not all of these: a label costs its keeper for weeks. */
  function health(peers: readonly PeerStatus[]): void {
    for (const state of PEER_STATES) {
      const count = peers.filter((peer) => peer.health.state === state).length;
      gauge('rudder_peers_by_state', 'Nodes by how they are: see rudder peers.', count, { state });
    }
    const told = peers.length <= MOST_PEERS_TOLD ? peers : peers.filter((peer) => peer.health.state !== 'ok');
    for (const peer of told.slice(0, MOST_PEERS_TOLD)) {
      const { state, rttMs } = peer.health;
      const labels = { subnet: peer.subnet, host: peer.host ?? '' };
      if (state === 'ok' || state === 'silent' || state === 'unreachable') {
        gauge('rudder_peer_up', 'Whether the node was heard of late.', state === 'ok' ? 1 : 0, labels);
      }
      const handshake = peer.session?.handshakeSeconds ?? null;
      if (handshake !== null) {
        gauge('rudder_peer_handshake_age_seconds', 'Since its last handshake was completed.', handshake, labels);
      }
      if (rttMs !== null) gauge('rudder_peer_rtt_seconds', 'How long its last echo was away.', rttMs / 1000, labels);
    }
  }

  function passage(forwarding: ForwardingStatus): void {
    for (const direction of ['out', 'in'] as const) {
      const isLost = forwarding[direction] === 'dropped' || forwarding[direction] === 'translated';
      const help = "Whether containers' packets are dropped or translated on this host, by somebody else's rules.";
      gauge('rudder_forwarding_broken', help, isLost ? 1 : 0, { direction });
    }
    const help =
      "Datagrams dropped that would have passed for the tunnel's: forged here, of a host that is no member, or sent by a container.";
    total('rudder_impostor_datagrams_total', help, forwarding.forged, { kind: 'forged' });
    total('rudder_impostor_datagrams_total', help, forwarding.strangers, { kind: 'stranger' });
    total('rudder_impostor_datagrams_total', help, forwarding.forwarded, { kind: 'container' });
  }

  function peerTraffic({ peers }: Status): void {
    for (const { subnet, outPackets, outBytes, inPackets, inBytes } of peers) {
      for (const [direction, packets, bytes] of [
        ['out', outPackets, outBytes],
        ['in', inPackets, inBytes],
      ] as const) {
        const labels = { subnet, direction };
        if (packets !== null)
          total('rudder_peer_packets_total', "Packets to and from a peer's subnet.", packets, labels);
        if (bytes !== null) total('rudder_peer_bytes_total', "Bytes to and from a peer's subnet.", bytes, labels);
      }
    }
  }

  return {
    contentType: registry.contentType,
    text(status) {
      for (const metric of [...counters.values(), ...gauges.values()]) metric.reset();
      for (const held of histograms.values()) held.counts = undefined;
      if (status !== undefined) {
        times(status);
        if (status.packetPath !== null) packetPath(status.packetPath);
        control(status);
        peerTraffic(status);
      }
      return registry.metrics();
    },
  };
}

/** As Prometheus has them: each bucket holds those before it too. */
function seriesOf(name: string, counts: HistogramCounts | undefined) {
  if (counts === undefined) return [];
  let upTo = 0;
  const buckets = counts.counts.map((count, i) => {
    upTo += count;
    return { metricName: `${name}_bucket`, labels: { le: String(counts.bounds[i] ?? '+Inf') }, value: upTo };
  });
  const whole = { metricName: `${name}_sum`, labels: {}, value: counts.sum };
  return [...buckets, whole, { metricName: `${name}_count`, labels: {}, value: upTo }];
}
