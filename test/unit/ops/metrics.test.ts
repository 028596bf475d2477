import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../src/ops/metrics.js';
import { createStatus } from '../../helpers/status.js';

const metricOf = (text: string, series: string) =>
  text
    .split('\n')
    .find((line) => line.startsWith(`${series} `))
    ?.split(' ')
    .at(-1);

describe('metrics', () => {
  it('tell totals by direction, drops by reason, and state', async () => {
    const status = createStatus();
    const text = await createMetrics().text(status);
    const counted = status.packetPath!.counters;
    expect(metricOf(text, 'rudder_packets_total{direction="out"}')).toBe(String(counted.out_packets));
    expect(metricOf(text, 'rudder_bytes_total{direction="in"}')).toBe(String(counted.in_bytes));
    expect(metricOf(text, 'rudder_drops_total{direction="in",reason="source"}')).toBe(String(counted.in_drop_source));
    expect(metricOf(text, 'rudder_offload_in_use{offload="tun-tso"}')).toBe('1');
    expect(metricOf(text, 'rudder_offload_in_use{offload="udp-gso"}')).toBe('0');
    expect(metricOf(text, 'rudder_peer_bytes_total{subnet="10.240.77.0/24",direction="in"}')).toBe('700');
    expect(metricOf(text, 'rudder_peers')).toBe('1');
    expect(metricOf(text, 'rudder_forwarding_broken{direction="out"}')).toBe('0');
    expect(metricOf(text, 'rudder_ready')).toBe('1');
    expect(metricOf(text, 'rudder_firewall_repairs_total')).toBe('2');
  });

  it('tell of encryption where there is one', async () => {
    const [peer] = createStatus().peers;
    const session = { state: 'up', handshakeSeconds: 34, tryingSeconds: null, endpoint: null } as const;
    const backend = { type: 'wireguard', kernel: null, direct: null, cipher: 'avx2', clockBehindSeconds: 5 };
    const text = await createMetrics().text(createStatus({ backend, peers: [{ ...peer, session }] }));
    expect(metricOf(text, 'rudder_cipher_info{cipher="avx2"}')).toBe('1');
    expect(metricOf(text, 'rudder_peers_with_session')).toBe('1');
    expect(metricOf(text, 'rudder_peer_handshake_age_seconds{subnet="10.240.77.0/24",host="beta"}')).toBe('34');
    expect(metricOf(text, 'rudder_clock_behind_seconds')).toBe('5');
    expect(await createMetrics().text(createStatus())).not.toContain('rudder_cipher_info');
  });

  it('tell bytes of a peer where no packets are counted', async () => {
    const [peer] = createStatus().peers;
    const counted = { ...peer, outPackets: null, inPackets: null, outBytes: 9, inBytes: 8 };
    const text = await createMetrics().text(createStatus({ peers: [counted] }));
    expect(metricOf(text, 'rudder_peer_bytes_total{subnet="10.240.77.0/24",direction="in"}')).toBe('8');
    expect(text).not.toContain('rudder_peer_packets_total{');
  });

  it('tell what is wrong with peers and with forwarding', async () => {
    const [peer] = createStatus().peers;
    const { firewall } = createStatus();
    const forwarding = {
      out: 'translated',
      in: 'passes',
      suspects: [],
      forged: 3,
      strangers: 2,
      forwarded: 4,
    } as const;
    const status = createStatus({ peers: [{ ...peer, problem: 'x' }], firewall: { ...firewall, forwarding } });
    const text = await createMetrics().text(status);
    expect(metricOf(text, 'rudder_peers')).toBe('0');
    expect(metricOf(text, 'rudder_peers_skipped')).toBe('1');
    expect(metricOf(text, 'rudder_forwarding_broken{direction="out"}')).toBe('1');
    expect(metricOf(text, 'rudder_forwarding_broken{direction="in"}')).toBe('0');
    expect(metricOf(text, 'rudder_impostor_datagrams_total{kind="container"}')).toBe('4');
  });

  it('tell when certificates end', async () => {
    const certificates = [{ file: '/etc/rudder/client.pem', subject: 'CN=node', notAfter: '2030-01-01T00:00:00.000Z' }];
    const text = await createMetrics().text(createStatus({ registry: { ...createStatus().registry, certificates } }));
    const series = 'rudder_registry_certificate_expiry_timestamp_seconds{file="/etc/rudder/client.pem"}';
    expect(metricOf(text, series)).toBe(String(Date.UTC(2030, 0) / 1000));
  });

  it('tell how long things took, each bucket with those before it', async () => {
    const text = await createMetrics().text(createStatus());
    expect(text).toContain('# TYPE rudder_probe_rtt_seconds histogram\n');
    const probes = [...text.matchAll(/^(rudder_probe_rtt_seconds_.*)$/gm)].map(([line]) => line);
    expect(probes).toEqual([
      'rudder_probe_rtt_seconds_bucket{le="0.001"} 7',
      'rudder_probe_rtt_seconds_bucket{le="0.01"} 9',
      'rudder_probe_rtt_seconds_bucket{le="+Inf"} 10',
      'rudder_probe_rtt_seconds_sum 0.09',
      'rudder_probe_rtt_seconds_count 10',
    ]);
    expect(metricOf(text, 'rudder_registry_request_seconds_count')).toBe('4');
    expect(Number(metricOf(text, 'rudder_loop_delay_seconds_count'))).toBeGreaterThanOrEqual(0);
    // A node without a registry has no requests.
    const { probes: own } = createStatus().latencies;
    const alone = await createMetrics().text(createStatus({ latencies: { probes: own, registry: null } }));
    expect(alone).not.toContain('rudder_registry_request_seconds');
  });

  it('show every counter of the packet path', async () => {
    const status = createStatus();
    const text = await createMetrics().text(status);
    // Each counter of the test's status has a value of its own, so each must be found.
    const shown = new Set(text.split('\n').map((line) => line.split(' ').at(-1)));
    const { out_icmp_bytes: _, ...counters } = status.packetPath!.counters;
    for (const [name, value] of Object.entries(counters)) expect(shown, name).toContain(String(value));
  });

  it('are named by the convention: a counter is a total, and nothing else is', async () => {
    const text = await createMetrics().text(createStatus());
    for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
      expect(name.endsWith('_total'), `${name} is a ${type}`).toBe(type === 'counter');
    }
  });

  it('forget a peer that left, and do not add up over scrapes', async () => {
    const metrics = createMetrics();
    await metrics.text(createStatus());
    const text = await metrics.text(createStatus({ peers: [], problems: ['x'] }));
    expect(text).not.toContain('10.240.77.0/24');
    expect(metricOf(text, 'rudder_firewall_repairs_total')).toBe('2');
    expect(metricOf(text, 'rudder_ready')).toBe('0');
  });

  it('are those of the process alone while the node starts', async () => {
    const text = await createMetrics().text(undefined);
    expect(text).toContain('process_cpu_seconds_total');
    expect(text).not.toContain('rudder_');
  });
});
