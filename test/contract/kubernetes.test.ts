import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { startFakeKubernetes } from '../../src/bench/fake-kubernetes.js';
import { administratorOf } from '../helpers/kubernetes.js';
import { createPki, type Pki } from '../helpers/pki.js';
import { describeKubernetes } from './kubernetes-suite.js';

let pki: Pki;
beforeAll(() => {
  pki = createPki();
  pki.authority('ca');
  pki.certificate('server', 'ca', 'IP:127.0.0.1');
});
afterAll(() => pki.remove());

describeKubernetes('the fake', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kube-'));
  const tls = { key: readFileSync(pki.path('server.key')), cert: readFileSync(pki.path('server.crt')) };
  const fake = await startFakeKubernetes({ tls });
  fake.setTokens(['admin', 'node']);
  writeFileSync(join(directory, 'token'), 'node\n');
  writeFileSync(join(directory, 'ca.crt'), readFileSync(pki.path('ca.crt')));
  const url = `https://127.0.0.1:${fake.port}`;
  return {
    directory,
    admin: administratorOf({ url, adminToken: 'admin', ca: readFileSync(pki.path('ca.crt')) }),
    optionsOf: (nodeName) => ({
      nodeName,
      annotationPrefix: 'flannel.alpha.coreos.com',
      netConfigPath: join(directory, 'net-conf.json'),
      setNetworkUnavailable: true,
      version: '1.2.3',
      environment: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(fake.port) },
      serviceAccountDirectory: directory,
      timing: { configMs: 50, graceMs: 200 },
    }),
    async close() {
      await fake.stop();
      rmSync(directory, { recursive: true });
    },
  };
});
