import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterEach, describe, expect, it } from 'vitest';
import { addNode, createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, startNode, stopNode } from '../../src/lab/nodes.js';
import { serveHttp } from '../../src/ops/http.js';
import type { PeerStatus, Status } from '../../src/ops/status.js';
import { freePort } from '../helpers/etcd.js';
import { createRecordingLog } from '../helpers/recording-log.js';
import { describeWith } from '../helpers/requires.js';
import { createStatus } from '../helpers/status.js';

const NAME = 'test-page';
const PORT = 9479;
/** The promise of the issue: how soon the page shows a change. */
const SHOWN_MS = 2000;

let browser: Browser | undefined;
let directory: string | undefined;
afterEach(async () => {
  await browser?.close();
  browser = undefined;
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

/** @param namespace where the browser runs; undefined: here */
async function open(url: string, namespace?: string): Promise<{ page: Page; errors: string[] }> {
  let executablePath = '/usr/bin/chromium';
  directory = mkdtempSync(join(tmpdir(), 'rudder-page-'));
  if (namespace !== undefined) {
    executablePath = join(directory, 'chromium');
    writeFileSync(executablePath, `#!/bin/sh\nexec nsenter --net=/run/netns/${namespace} /usr/bin/chromium "$@"\n`);
    chmodSync(executablePath, 0o755);
  }
  const quiet = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
  ];
  browser = await chromium.launch({ executablePath, args: [...quiet, '--disable-sync'] });
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => void (message.type() === 'error' && errors.push(message.text())));
  await page.goto(url);
  return { page, errors };
}

const rows = (page: Page) => page.locator('#peers tr');

describeWith(['root', 'tun', 'etcd', 'chromium'], 'the live page of a node', () => {
  afterEach(() => labDown(NAME));

  it('shows a joining and a leaving node within two seconds, and traffic', { timeout: 120_000 }, async () => {
    const lab = await createLab({ name: NAME, nodes: 2, config: '{"Network":"10.240.0.0/16"}' });
    for (const node of lab.nodes) await startNode(lab, node, [`--healthz-port=${PORT}`, '--cleanup-on-exit']);
    for (const node of lab.nodes) await addContainer(lab, node);
    const { page, errors } = await open(`http://127.0.0.1:${PORT}/`, namespaceOf(lab, 'n1'));
    await page.locator('#state', { hasText: 'ready' }).waitFor();
    await rows(page).first().waitFor();
    expect(await rows(page).count()).toBe(1);
    expect(await page.locator('#map i').count()).toBe(256);
    expect(await page.locator('#map i.own').getAttribute('title')).toContain('this node');

    const joining = await addNode(lab);
    await startNode(lab, joining, ['--cleanup-on-exit']);
    await rows(page).nth(1).waitFor({ timeout: SHOWN_MS });
    expect(await page.locator('#map i.peer').count()).toBe(2);

    const ping = execIn(lab, 'c1', ['ping', '-c', '30', '-i', '0.1', labStatus(lab)[1].containerAddress]);
    await page.locator('#map i.busy').first().waitFor({ timeout: 5000 });
    await ping;

    await stopNode(lab, joining);
    await rows(page).nth(1).waitFor({ state: 'detached', timeout: SHOWN_MS });
    expect(await page.locator('#map i.peer').count()).toBe(1);
    // Once would be put right by the daemon in a moment.
    const again = 'for i in $(seq 200); do ip link set rudder0 down; sleep 0.02; done';
    const taking = execIn(lab, 'n1', ['sh', '-c', again]);
    await page.locator('#state.bad', { hasText: 'rudder0 is down' }).waitFor({ timeout: 2 * SHOWN_MS });
    await taking;
    expect(errors).toEqual([]);
  });
});

describeWith(['chromium'], 'the live page', () => {
  const peer = (i: number): PeerStatus => ({
    host: `node-${i}`,
    version: '1.2.3',
    subnet: `10.${240 + Math.floor(i / 256)}.${i % 256}.0/24`,
    problem: null,
    health: { state: 'ok', reason: null, rttMs: 0.4, lastHeardSeconds: 1 },
    reserved: false,
    nextHop: `10.1.${Math.floor(i / 200)}.${(i % 200) + 1}`,
    outPackets: 1,
    outBytes: 1000 * i,
    inPackets: 1,
    inBytes: 0,
    heardSecondsAgo: null,
  });

  describe('of a node with 500 peers', () => {
    it('shows them all, and follows them', { timeout: 60_000 }, async () => {
      let status: Status = createStatus({
        node: { ...createStatus().node, network: '10.240.0.0/12', subnet: '10.250.0.0/24' },
        peers: Array.from({ length: 500 }, (_, i) => peer(i)),
      });
      const socketPath = join(mkdtempSync(join(tmpdir(), 'rudder-page-')), 'rudder.sock');
      const port = await freePort();
      const http = await serveHttp({
        socketPath,
        tcp: { address: '127.0.0.1', port },
        status: async () => status,
        survey: async () => ({ nodes: [] }),
        events: async () => [],
        store: { kind: 'etcd', settings: { endpoints: ['http://10.1.1.1:2379'], prefix: '/x' } },
        setLogLevel: () => undefined,
        log: createRecordingLog(),
      });
      try {
        const { page, errors } = await open(`http://127.0.0.1:${port}/`);
        await rows(page).nth(499).waitFor({ timeout: 10_000 });
        expect(await page.locator('#map i').count()).toBe(4096);
        expect(await page.locator('#map i.peer').count()).toBe(500);
        status = { ...status, peers: status.peers.slice(0, 499) };
        await rows(page).nth(499).waitFor({ state: 'detached', timeout: SHOWN_MS });
        status = { ...status, problems: ['etcd has not been watched for 12 s'] };
        await page.locator('#state.bad', { hasText: 'etcd has not been watched' }).waitFor({ timeout: SHOWN_MS });
        http.close();
        await page.locator('#state.bad', { hasText: 'does not answer' }).waitFor({ timeout: SHOWN_MS });
        expect(errors.filter((text) => !text.includes('ERR_CONNECTION_REFUSED'))).toEqual([]);
      } finally {
        http.close();
      }
    });
  });
});
