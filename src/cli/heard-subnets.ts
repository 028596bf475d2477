import { z } from 'zod';
import { tryDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import type { NodeOptions } from './defaults-file.js';
import type { RawRegistryOptions } from './registry-options.js';

const etcd = z.object({ endpoints: z.array(z.string()), prefix: z.string() });
const status = z.object({
  node: z.object({ subnet: z.string() }),
  peers: z.array(z.object({ subnet: z.string(), heardSecondsAgo: z.number().nullable() })),
});

/**
 * Subnets that somebody uses for certain: that of this host's node, and those of peers from which it has heard. A node of
 * flannel's writes no node id, so that its key alone does not tell. None if no daemon runs here, or one of another etcd.
 */
export async function heardSubnets({ raw }: NodeOptions, used: RawRegistryOptions): Promise<ReadonlySet<string>> {
  const ask = async (path: string) => {
    const asked = await tryDaemon(controlSocketOf(raw.subnetFile), 'GET', path);
    return asked.is === 'answer' ? asked.answer.body : undefined;
  };
  const told = etcd.safeParse(await ask('/etcd')).data;
  const isSame =
    told?.prefix === used.etcdPrefix && told.endpoints.some((endpoint) => used.etcdEndpoints.includes(endpoint));
  const { data } = isSame ? status.safeParse(await ask('/status')) : {};
  if (data === undefined) return new Set();
  const heard = data.peers.filter(({ heardSecondsAgo }) => heardSecondsAgo !== null);
  return new Set([data.node.subnet, ...heard.map(({ subnet }) => subnet)]);
}
