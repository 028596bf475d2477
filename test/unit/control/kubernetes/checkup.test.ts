import { expect, it } from 'vitest';
import { checkKubernetes } from '../../../../src/control/kubernetes/checkup.js';

it('a kubeconfig that cannot be read is what the checkup finds', async () => {
  const found = await checkKubernetes({
    kubeconfigFile: '/nonexistent',
    nodeName: 'n1',
    annotationPrefix: 'flannel.alpha.coreos.com',
    netConfigPath: '/nonexistent',
    setNetworkUnavailable: true,
    version: '1.2.3',
    environment: {},
  });
  expect(found).toEqual({ failure: expect.stringMatching(/\/nonexistent/) });
});
