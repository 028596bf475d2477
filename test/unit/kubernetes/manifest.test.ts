import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { parseNetworkConfig } from '../../../src/backend/config.js';
import { settingsOf } from '../../../src/backend/kinds.js';
import { unknownKeys } from '../../../src/backend/new-config.js';
import { addDaemonOptions, toDaemonOptions } from '../../../src/cli/daemon-options.js';
import { addRegistryOptions } from '../../../src/cli/registry-options.js';
import { NEEDED } from '../../../src/control/kubernetes/checkup.js';
import { chartFile, renderChart, type Values } from '../../helpers/chart.js';

const MANIFEST = new URL('../../../kubernetes/rudder.yml', import.meta.url);
const HEADER = `# The pod network of a cluster: kubectl apply -f rudder.yml. See docs/kubernetes.md before.
# It is kubernetes/chart with its values as they are, and a namespace; a test keeps it so.
apiVersion: v1
kind: Namespace
metadata:
  name: rudder
  labels:
    pod-security.kubernetes.io/enforce: privileged
---
`;

// biome-ignore lint/suspicious/noExplicitAny: objects of Kubernetes, of which each test knows what it looks at
type Thing = any;
const thingsIn = (text: string): Thing[] => parseAllDocuments(text).map((document) => document.toJS());
const thingOf = (kind: string, changes: Record<string, unknown> = {}) =>
  thingsIn(renderChart('rudder', changes)).find((thing) => thing.kind === kind);
const podOf = (changes: Record<string, unknown> = {}) => thingOf('DaemonSet', changes).spec.template.spec;
const configOf = (changes: Record<string, unknown> = {}) => thingOf('ConfigMap', changes).data['net-conf.json'];

describe('the manifest', () => {
  it('is the chart with its values, and a namespace (vitest run -u writes it)', async () => {
    await expect(HEADER + renderChart('rudder')).toMatchFileSnapshot(MANIFEST.pathname);
  });

  it('is YAML of one object for each thing that a pod network is made of', () => {
    const kinds = thingsIn(readFileSync(MANIFEST, 'utf8')).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(kinds).toEqual([
      'Namespace rudder',
      'ConfigMap rudder',
      'DaemonSet rudder',
      'ServiceAccount rudder',
      'ClusterRole rudder',
      'ClusterRoleBinding rudder',
      'Role rudder-events',
      'RoleBinding rudder-events',
    ]);
  });

  it('is of this version', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
    const { version: chart, appVersion } = parse(chartFile('Chart.yaml')) as Values;
    expect([chart, appVersion]).toEqual([version, version]);
    expect(podOf().containers[0].image).toBe(`rudder:${version}`);
  });
});

describe('the pod', () => {
  it('has two capabilities and no more, where no device of user space is needed', () => {
    for (const backend of ['vxlan', 'host-gw', 'alloc']) {
      expect(podOf({ 'rudder.backend': backend }).containers[0].securityContext, backend).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
      });
    }
    for (const change of [
      { 'rudder.backend': 'udp' },
      { 'rudder.backend': 'wireguard' },
      { 'rudder.privileged': true },
    ]) {
      expect(podOf(change).containers[0].securityContext).toEqual({ privileged: true });
    }
  });

  it('runs on every node, before all others, on the network of the host', () => {
    expect(podOf()).toMatchObject({
      hostNetwork: true,
      priorityClassName: 'system-node-critical',
      tolerations: [{ operator: 'Exists' }],
      nodeSelector: { 'kubernetes.io/os': 'linux' },
    });
  });

  it('is asked on 127.0.0.1 where the daemon serves its health', () => {
    const [{ args, livenessProbe, readinessProbe }] = podOf({ 'rudder.healthz.port': 8081 }).containers;
    expect(args).toContain('--healthz-port=8081');
    expect(livenessProbe).toMatchObject({ httpGet: { host: '127.0.0.1', path: '/healthz', port: 8081 } });
    expect(readinessProbe).toMatchObject({ httpGet: { host: '127.0.0.1', path: '/readyz', port: 8081 } });
  });

  it('is not killed on a node that is busy for some seconds: a second is the timeout that the kubelet has', () => {
    const [{ livenessProbe, readinessProbe }] = podOf().containers;
    expect(readinessProbe.timeoutSeconds).toBeGreaterThanOrEqual(5);
    expect(livenessProbe.timeoutSeconds).toBeGreaterThanOrEqual(5);
    expect(livenessProbe.periodSeconds * livenessProbe.failureThreshold).toBeGreaterThanOrEqual(60);
  });

  it('leaves the CNI configuration alone where somebody else writes it', () => {
    const { containers, volumes } = podOf({ 'rudder.skipCNIConfigInstallation': true });
    expect(JSON.stringify([containers, volumes])).not.toMatch(/cni/);
    const elsewhere = podOf({ 'rudder.cniConfDir': '/var/lib/x/net.d' });
    expect(elsewhere.volumes).toContainEqual({
      name: 'cni',
      hostPath: { path: '/var/lib/x/net.d', type: 'DirectoryOrCreate' },
    });
  });

  it('starts the daemon with options that it takes, by which it finds the files of its volumes', () => {
    const [{ args, volumeMounts, env }] = podOf().containers;
    const command = addDaemonOptions(addRegistryOptions(new Command('rudder'))).exitOverride();
    const options = toDaemonOptions(command.parse(args, { from: 'user' }).opts());
    const paths = volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath);
    expect(options).toMatchObject({ ipMasq: true, healthz: { address: '127.0.0.1', port: 9478 } });
    const { registry, cniConf, subnetFile, stateDir } = options;
    if (registry.kind !== 'kubernetes') throw new Error('not of Kubernetes');
    const files = [registry.netConfigPath, subnetFile, cniConf!];
    expect(paths).toEqual([
      ...files.map((file) => dirname(file)).slice(0, 2),
      stateDir,
      dirname(files[2]),
      '/run/xtables.lock',
    ]);
    expect(basename(registry.netConfigPath)).toBe(Object.keys(thingOf('ConfigMap').data)[0]);
    expect(env.map(({ name }: { name: string }) => name)).toEqual(['NODE_NAME']);
  });

  it('has a mount for each volume', () => {
    const { containers, volumes } = podOf();
    const names = (list: { name: string }[]) => list.map(({ name }) => name).sort();
    expect(names(containers[0].volumeMounts)).toEqual(names(volumes));
  });

  it('pulls with the secrets that are given', () => {
    expect(podOf().imagePullSecrets).toBeUndefined();
    const secrets = [{ name: 'mine' }];
    expect(podOf({ 'global.imagePullSecrets': secrets }).imagePullSecrets).toEqual(secrets);
  });
});

describe('the rights', () => {
  const rightsOf = (kind: string) =>
    thingOf(kind).rules.flatMap(({ resources, verbs }: { resources: string[]; verbs: string[] }) =>
      resources.flatMap((resource) => verbs.map((verb) => ({ verb, resource }))),
    );

  it('are those that the daemon asks for, and events, of the one namespace that they are written to', () => {
    expect(rightsOf('ClusterRole')).toEqual(NEEDED);
    expect(rightsOf('Role')).toEqual([{ verb: 'create', resource: 'events' }]);
    expect(thingOf('Role').metadata.namespace).toBe('default');
  });

  it('are of the account that the pod runs as', () => {
    const account = { kind: 'ServiceAccount', name: podOf().serviceAccountName, namespace: 'rudder' };
    expect([thingOf('ClusterRoleBinding').subjects, thingOf('RoleBinding').subjects]).toEqual([[account], [account]]);
    expect(thingOf('ServiceAccount').metadata).toEqual({ name: account.name, namespace: account.namespace });
  });
});

describe('the config', () => {
  it.each<[Record<string, unknown>, object]>([
    [{}, { Type: 'vxlan' }],
    [{ 'rudder.backend': 'host-gw' }, { Type: 'host-gw' }],
    [
      { 'rudder.backend': 'udp', 'rudder.backendPort': 8286 },
      { Type: 'udp', Port: 8286 },
    ],
    [
      {
        'rudder.vni': 7,
        'rudder.backendPort': 4789,
        'rudder.mtu': 1400,
        'rudder.GBP': true,
        'rudder.directRouting': true,
      },
      { Type: 'vxlan', VNI: 7, Port: 4789, MTU: 1400, GBP: true, DirectRouting: true },
    ],
  ])('of %o is one that a node takes', (changes, backend) => {
    const text = configOf({ ...changes, podCidr: '10.100.0.0/16' });
    expect(JSON.parse(text)).toEqual({ Network: '10.100.0.0/16', Backend: backend });
    expect(unknownKeys(text)).toEqual([]);
    settingsOf(parseNetworkConfig(text));
  });
});
