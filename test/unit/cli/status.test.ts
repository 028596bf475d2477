import { afterEach, expect, it, vi } from 'vitest';
import { status } from '../../../src/cli/status.js';
import { createStatus } from '../../helpers/status.js';

const asked = vi.hoisted(() => ({ body: undefined as unknown }));
vi.mock('../../../src/ops/control-client.js', () => ({ askDaemon: async () => ({ code: 200, body: asked.body }) }));

afterEach(() => void vi.restoreAllMocks());

async function shown(days: number): Promise<{ code: number; text: string }> {
  const notAfter = new Date(Date.now() + days * 86_400_000).toISOString();
  const certificates = [{ file: '/etc/rudder/client.pem', subject: 'CN=node', notAfter }];
  asked.body = createStatus({ etcd: { ...createStatus().etcd, certificates } });
  let text = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += chunk;
    return true;
  });
  const code = await status('/run/rudder/subnet.env', false);
  return { code, text };
}

it('a certificate that ends soon is warned of, and the node is ready all the same', async () => {
  const { code, text } = await shown(13);
  expect(code).toBe(0);
  expect(text).toMatch(/^ready {5}yes$/m);
  expect(text).toMatch(
    /^warning {3}the certificate "CN=node" in \/etc\/rudder\/client\.pem expires in 12 days, on 20/m,
  );
  expect((await shown(15)).text).not.toMatch(/^warning/m);
  expect((await shown(-1)).text).toMatch(/^warning .*has expired, on/m);
});
