import { waitFor } from '../../../src/lab/wait-for.js';
import type { Cluster, KubeNode } from './cluster.js';

/** A web server on each node that says who asks, as pods, behind a service and behind a port of the host. */
export const WEB_PORT = 8080;
export const HOST_PORT = 8088;
const APP = { metadata: { labels: { app: 'web' } } };
const CONTAINER = {
  name: 'web',
  image: 'busybox:lab',
  imagePullPolicy: 'Never',
  command: ['/bin/busybox', 'httpd', '-f', '-p', String(WEB_PORT), '-h', '/www'],
};

export const WEB = [
  {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'web' },
    spec: {
      selector: { matchLabels: { app: 'web' } },
      template: {
        ...APP,
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [{ ...CONTAINER, ports: [{ containerPort: WEB_PORT, hostPort: HOST_PORT }] }],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: WEB_PORT }] },
  },
];

/** One that the scheduler places. */
export const MOVABLE = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'movable' },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'movable' } },
    template: {
      metadata: { labels: { app: 'movable' } },
      spec: {
        terminationGracePeriodSeconds: 0,
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: 'kubernetes.io/hostname',
            whenUnsatisfiable: 'ScheduleAnyway',
            labelSelector: { matchLabels: { app: 'movable' } },
          },
        ],
        containers: [CONTAINER],
      },
    },
  },
};

export const asText = (items: readonly object[]) => JSON.stringify({ apiVersion: 'v1', kind: 'List', items });

export interface Pod {
  readonly name: string;
  readonly node: string;
  readonly address: string;
}

/** Those that run. */
export async function podsOf({ kubectl }: Cluster, app: string): Promise<Pod[]> {
  const { items } = JSON.parse(await kubectl('get', 'pods', '-l', `app=${app}`, '-o', 'json')) as { items: RawPod[] };
  return items
    .filter(({ metadata, status }) => status.phase === 'Running' && metadata.deletionTimestamp === undefined)
    .map(({ metadata, spec, status }) => ({ name: metadata.name, node: spec.nodeName, address: status.podIP }));
}

interface RawPod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName: string };
  readonly status: { readonly phase: string; readonly podIP: string };
}

/** Whom the web server there says that it was asked by. */
export async function askFrom(cluster: Cluster, pod: Pod, address: string, port: number): Promise<string> {
  return cluster.kubectl('exec', pod.name, '--', ...asking(address, port));
}

export const askFromNode = (node: KubeNode, address: string, port: number) => node.run(...asking(address, port));

const asking = (address: string, port: number) => [
  ...['busybox', 'timeout', '3', 'busybox', 'wget', '-qO-'],
  `http://${address}:${port}/cgi-bin/who`,
];

export async function waitForPods(cluster: Cluster, app: string, count: number): Promise<Pod[]> {
  return waitFor(
    `${count} pods of ${app} to run`,
    async () => {
      const pods = await podsOf(cluster, app);
      return pods.length === count && pods.every(({ address }) => address) ? pods : undefined;
    },
    120_000,
  );
}
