import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { formatIpv4 } from '../core/ipv4.js';
import { type FakeKubernetes, type KubeObject, startFakeKubernetes } from './fake-kubernetes.js';

/**
 * `node kube-nodes.js ADDRESS KEY CERT NODES`: an API server with that many Nodes of 12 kB. Each line `churn RATE SECONDS` on
 * its input has so many of them change their address, of which it tells each as a line of JSON.
 */
const IMAGES = 50;
const ANNOTATION = 'flannel.alpha.coreos.com/';
const NETWORK = 0x0a000000;

const [, , host, key, cert, count] = process.argv;

function node(number: number, address: number): KubeObject {
  const subnet = `${formatIpv4(NETWORK + number * 256)}/24`;
  const image = (i: number) => ({
    names: [`registry.example/${'x'.repeat(60)}/image-${i}@sha256:${'0'.repeat(64)}`],
    sizeBytes: 1e8 + i,
  });
  return {
    metadata: {
      name: `peer-${number}`,
      annotations: {
        [`${ANNOTATION}kube-subnet-manager`]: 'true',
        [`${ANNOTATION}backend-type`]: 'udp',
        [`${ANNOTATION}backend-data`]: 'null',
        [`${ANNOTATION}public-ip`]: formatIpv4(address),
      },
    },
    spec: { podCIDR: subnet, podCIDRs: [subnet] },
    status: {
      images: Array.from({ length: IMAGES }, (_, i) => image(i)),
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}

const addressOf = (number: number, turn: number) => 0xac100000 + turn * 65_536 + number;

async function churn(fake: FakeKubernetes, rate: number, seconds: number): Promise<void> {
  const total = rate * seconds;
  for (let i = 0; i < total; i++) {
    const number = 1 + (i % Number(count));
    const turn = 1 + Math.floor(i / Number(count));
    const at = Date.now();
    const { spec } = fake.putNode(node(number, addressOf(number, turn)));
    process.stdout.write(`${JSON.stringify({ at, subnet: spec?.podCIDR })}\n`);
    await new Promise((resolve) => setTimeout(resolve, 1000 / rate));
  }
  process.stdout.write('{"done":true}\n');
}

const tls = { key: readFileSync(key), cert: readFileSync(cert) };
const fake = await startFakeKubernetes({ tls, host, at: 6443, bookmarkMs: 30_000 });
fake.putNode({ metadata: { name: 'n1' }, spec: { podCIDR: '10.255.255.0/24' } });
for (let number = 1; number <= Number(count); number++) fake.putNode(node(number, addressOf(number, 0)));
process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [, rate, seconds] = /^churn (\d+) (\d+)$/.exec(line) ?? [];
  if (rate !== undefined) await churn(fake, Number(rate), Number(seconds));
}
