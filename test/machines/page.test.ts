import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterEach, describe, expect, it } from 'vitest';
import type { NodeEvent } from '../../src/core/event.js';
import { createHistory, type History, STEP_SECONDS } from '../../src/history/history.js';
import { act, addNode, createLab, labDown, labStatus } from '../../src/lab/lab.js';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { addContainer, startNode, stopNode } from '../../src/lab/nodes.js';
import { serveHttp } from '../../src/ops/http.js';
import type { Status } from '../../src/ops/status.js';
import { freePort } from '../helpers/etcd.js';
import { addStep } from '../helpers/history.js';
import { countsTraffic, type ImaginedOptions, imaginedOverview, imaginedStatus, nameOf } from '../helpers/overview.js';
import { createRecordingLog } from '../helpers/recording-log.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-page';
const PORT = 9479;
/** How soon the page shows who has come or gone... */
const SHOWN_MS = 3000;
/** ... and who does not answer any more. */
const FAULT_SHOWN_MS = 10_000;
/** A telephone, a laptop, a wall. */
const SIZES = [
  [390, 844],
  [1280, 800],
  [2560, 1440],
] as const;
/** What an update may take of the browser's main thread. */
const UPDATE_MS = 16;

/** What a status says where the kernel moves the packets... */
const BY_KERNEL: Partial<Status> = {
  packetPath: null,
  offloads: {},
  backend: { type: 'vxlan', kernel: { wanted: 28, present: 28 }, direct: null, countsTraffic: false },
  device: { name: 'rudder.1', mtu: 1450, up: true, repairs: 0 },
};
/** ... and where it encrypts them, and counts the bytes of each peer. */
const ENCRYPTED_BY_KERNEL: Partial<Status> = {
  packetPath: null,
  offloads: {},
  backend: {
    type: 'wireguard',
    kernel: { wanted: 9, present: 9 },
    direct: null,
    countsTraffic: true,
    cipher: 'kernel',
    implementation: { runs: 'kernel', why: 'the kernel has WireGuard' },
  },
  device: { name: 'rudder-wg', mtu: 1420, up: true, repairs: 0 },
};

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

const rows = (page: Page) => page.locator('#nodes tr');
const row = (page: Page, name: string) => rows(page).filter({ has: page.getByRole('link', { name, exact: true }) });
const onMap = (page: Page, name: string) => page.locator(`#map .node[aria-label^="${name}"]`);

/** Plain kernel backends count nothing by node. A device that the node has for itself can be taken from it. */
const CASES = [
  { type: 'udp', args: [], mtu: 1472, isCounted: true, device: 'rudder0' },
  // Wherever the kernel has a WireGuard of its own.
  { type: 'wireguard', args: ['--wireguard-implementation=user'], mtu: 1420, isCounted: true, device: 'rudder0' },
  { type: 'vxlan', args: [], mtu: 1450, isCounted: false, device: 'rudder.1' },
  { type: 'host-gw', args: [], mtu: 1500, isCounted: false, device: undefined },
];

describeWith(['root', 'tun', 'vxlan', 'etcd', 'chromium'], 'the page of a cluster', () => {
  afterEach(() => labDown(NAME));

  it.each(CASES)('shows who joins, leaves, is killed and is cut off, and who talks to whom: $type', {
    timeout: 180_000,
  }, async ({ type, args, mtu, isCounted, device }) => {
    const config = JSON.stringify({ Network: '10.240.0.0/16', Backend: { Type: type } });
    const lab = await createLab({ name: NAME, nodes: 3, config, daemon: { leaseTtl: '60s' } });
    for (const node of lab.nodes) await startNode(lab, node, [...args, `--healthz-port=${PORT}`]);
    for (const node of lab.nodes) await addContainer(lab, node);
    const { page, errors } = await open(`http://127.0.0.1:${PORT}/`, namespaceOf(lab, 'n1'));
    await page.locator('#state', { hasText: 'all 3 nodes are well' }).waitFor();
    expect(await onMap(page, 'n1').getAttribute('aria-label')).toBe('n1 this node: ok');
    // n1 is no part of it: what others say is shown.
    const ping = execIn(lab, 'c2', [
      'ping',
      '-q',
      '-c',
      '600',
      '-i',
      '0.01',
      '-s',
      '1400',
      labStatus(lab)[2].containerAddress,
    ]);
    if (isCounted) {
      await page.locator('#map .link.busy').first().waitFor({ timeout: 9000 });
      expect(await page.locator('#map .link.busy').count()).toBe(1);
    }
    await ping;
    await pictures(page, type, 'well');
    const columns = (await page.locator('.nodes thead th:visible').allInnerTexts()).join(' ');
    expect(columns.includes('Sends')).toBe(isCounted);
    if (!isCounted) {
      await page.locator('.legend', { hasText: 'no traffic is shown: the kernel moves the packets' }).waitFor();
      expect(await page.locator('#cluster').innerText()).not.toMatch(/\dbit|[kMG]bit|traffic, the more|talking|\/s/);
    }

    const joining = await addNode(lab);
    await startNode(lab, joining, [...args, '--cleanup-on-exit']);
    await onMap(page, 'n4').waitFor({ timeout: SHOWN_MS });
    await page.locator('#state', { hasText: 'all 4 nodes are well' }).waitFor({ timeout: SHOWN_MS });
    await stopNode(lab, joining);
    await row(page, 'n4').filter({ hasText: 'lost' }).waitFor({ timeout: SHOWN_MS });
    await page.locator('#problems', { hasText: 'n4 left' }).waitFor({ timeout: SHOWN_MS });
    await page.locator('#events', { hasText: 'peer removed' }).waitFor({ timeout: SHOWN_MS });

    await act(lab, 'n3', 'kill');
    await page.locator('#problems .bad', { hasText: 'n3' }).waitFor({ timeout: FAULT_SHOWN_MS });
    await page.locator('#map .node.bad').waitFor({ timeout: 1000 });
    await pictures(page, type, 'killed');
    await startNode(lab, lab.nodes[2], [...args, `--healthz-port=${PORT}`]);
    await page.locator('#state.warn', { hasText: 'all 3 nodes are well' }).waitFor({ timeout: FAULT_SHOWN_MS });
    await act(lab, 'n2', 'partition');
    await page.locator('#problems .bad', { hasText: 'n2' }).waitFor({ timeout: FAULT_SHOWN_MS });
    await pictures(page, type, 'partitioned');
    await act(lab, 'n2', 'heal');
    await page.locator('#state.warn', { hasText: 'all 3 nodes are well' }).waitFor({ timeout: 2 * FAULT_SHOWN_MS });

    await onMap(page, 'n2').locator('path').click();
    await page.locator('#node h2', { hasText: 'Between n1 and n2' }).waitFor();
    await page.locator('#node .facts', { hasText: `${type}, MTU ${mtu}` }).waitFor({ timeout: SHOWN_MS });
    await page.locator('#node .history canvas').first().waitFor();
    await page.locator('#node .between canvas').first().waitFor();
    await pictures(page, type, 'peer');
    await page.goto(`http://127.0.0.1:${PORT}/#/`);
    await onMap(page, 'n1').locator('path').click();
    await page.locator('#node .facts', { hasText: 'rules kept' }).waitFor({ timeout: SHOWN_MS });
    await pictures(page, type, 'own');
    if (!isCounted) expect(await page.locator('#node').innerText()).not.toMatch(/\dbit|[kMG]bit|Offloads|\/s/);
    expect(errors).toEqual([]);
    if (device === undefined) return;
    // Once would be put right by the daemon in a moment.
    const again = `for i in $(seq 200); do ip link set ${device} down; sleep 0.02; done`;
    const taking = execIn(lab, 'n1', ['sh', '-c', again]);
    await page.locator('#node .verdict.bad', { hasText: `${device} is down` }).waitFor({ timeout: 4000 });
    await taking;
    expect(errors).toEqual([]);
  });
});

describeWith(['chromium'], 'the page', () => {
  let imagined: ImaginedOptions;
  let http: { close(): void };
  let url: string;

  async function serve(options: ImaginedOptions): Promise<void> {
    imagined = options;
    const [hasTraffic, hasDrops] = [countsTraffic(options.status ?? {}), options.status?.packetPath !== null];
    const past = imaginedPast(hasTraffic, hasDrops);
    const port = await freePort();
    const socketPath = join(mkdtempSync(join(tmpdir(), 'rudder-page-')), 'rudder.sock');
    const began = Date.now();
    const now = () => ({ ...imagined, second: Math.round((Date.now() - began) / 1000) });
    http = await serveHttp({
      socketPath,
      tcp: { address: '127.0.0.1', port },
      status: async () => imaginedStatus(now()),
      survey: async () => ({ nodes: [] }),
      cluster: () => imaginedOverview(now()),
      history(after, subnet) {
        const part = past.after(after, subnet && '10.240.1.0/24');
        return part && { ...part, endsAt: new Date().toISOString() };
      },
      async historyOf() {
        const { stepSeconds, curves } = past.after(-1)!;
        const drops = hasDrops ? curves.unwell : curves.out.map(() => null);
        return { stepSeconds, endsAt: new Date().toISOString(), curves: { ...curves, drops } };
      },
      events: async (after) => EVENTS.filter(({ id }) => id > after),
      store: { kind: 'etcd', settings: { endpoints: ['http://10.1.1.1:2379'], prefix: '/x' } },
      setLogLevel: () => undefined,
      log: createRecordingLog(),
    });
    url = `http://127.0.0.1:${port}/`;
  }
  afterEach(() => http.close());

  it('shows 500 nodes, finds one of them, and costs little', { timeout: 90_000 }, async () => {
    await serve({ peers: 499, second: 0, hasTrouble: true });
    const { page, errors } = await open(url);
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.locator('#map .node').nth(500).waitFor({ timeout: 10_000 });
    expect(await rows(page).count()).toBe(50);
    const median = await mainThreadMs(page, 15);
    process.stdout.write(`an update of 500 nodes takes ${median.toFixed(1)} ms of the main thread (median)\n`);
    expect(median).toBeLessThan(UPDATE_MS);

    await page.locator('#more', { hasText: '501 nodes' }).click();
    expect(await rows(page).count()).toBe(501);
    expect(await row(page, nameOf(4)).innerText()).toContain('silent');

    await page.locator('#search').fill('web-77');
    expect(await rows(page).count()).toBe(1);
    expect(await page.locator('#map .node:not(.dim)').count()).toBe(1);
    await page.locator('#search').fill('');
    await page.locator('#filters button', { hasText: 'problems' }).click();
    expect(await rows(page).first().innerText()).toContain('unreachable');
    expect(await rows(page).count()).toBeLessThan(20);
    imagined = { ...imagined, peers: 498 };
    await page.locator(`#map .node[aria-label^="${nameOf(499)}:"]`).waitFor({ state: 'detached', timeout: SHOWN_MS });
    http.close();
    await page.locator('#state.bad', { hasText: 'does not answer' }).waitFor({ timeout: SHOWN_MS });
    expect(errors.filter((text) => !text.includes('ERR_CONNECTION_REFUSED'))).toEqual([]);
  });

  it('is used with the keyboard alone', { timeout: 60_000 }, async () => {
    await serve({ peers: 5, second: 0 });
    const { page } = await open(url);
    await onMap(page, 'web-1').waitFor();
    await onMap(page, 'web-1').focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.evaluate('document.activeElement.getAttribute("aria-label")')).toMatch(/^build-1 .* ms: ok$/);
    expect(await page.locator('#tip').innerText()).toContain('round trip');
    await page.keyboard.press('Enter');
    await page.locator('#node h2', { hasText: 'build-1' }).first().waitFor();
    expect(await page.title()).toBe('build-1 - Rudder');
    await page.goBack();
    await page.locator('#cluster').waitFor();
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.closest("main") !== null')).toBe(true);
  });

  describe.each(['light', 'dark'] as const)('in %s', (colorScheme) => {
    it.each(
      SIZES.flatMap(([width, height]) => [
        { width, height, backend: 'udp', status: {} },
        { width, height, backend: 'vxlan', status: BY_KERNEL },
        { width, height, backend: 'wireguard', status: ENCRYPTED_BY_KERNEL },
      ]),
    )('at $width px, $backend, says all to everybody, and cuts nothing off', {
      timeout: 90_000,
    }, async ({ width, height, backend, status }) => {
      await serve({ peers: 9, second: 0, hasTrouble: true, status });
      const { page, errors } = await open(url);
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width, height });
      for (const [name, hash, sign] of [
        ['cluster', '#/', '#history canvas'],
        ['own', `#/node/${encodeURIComponent('10.240.0.0/24')}`, '#node canvas'],
        ['node', `#/node/${encodeURIComponent('10.240.1.0/24')}`, '#node canvas'],
      ]) {
        await page.goto(`${url}${hash}`);
        await page.locator(sign).first().waitFor();
        await picture(page, `${backend}-${name}-${width}-${colorScheme}`);
        expect(await violations(page)).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true);
        expect(await page.evaluate(NARROWEST)).toBeGreaterThan(60);
      }
      expect(errors).toEqual([]);
    });
  });

  it('makes the picture of the README', { timeout: 60_000 }, async () => {
    await serve({ peers: 11, second: 0, hasTrouble: true });
    const { page } = await open(url);
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.locator('#map .link.busy').first().waitFor();
    const picture = await mapAsSvg(page);
    expect(picture).toMatch(/^<svg .*db-1.*<\/svg>$/s);
    expect(picture).not.toContain('href');
    const target = process.env.RUDDER_SCREENSHOTS;
    if (target === undefined) return;
    mkdirSync(target, { recursive: true });
    writeFileSync(join(target, 'page.svg'), `${picture}\n`);
  });

  it('shows a large cluster to everybody too', { timeout: 90_000 }, async () => {
    await serve({ peers: 499, second: 0, hasTrouble: true });
    const { page } = await open(url);
    for (const [width, colorScheme] of [
      [390, 'light'],
      [1280, 'light'],
      [2560, 'dark'],
    ] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width, height: width === 390 ? 844 : width === 1280 ? 800 : 1440 });
      await page.locator('#history canvas').first().waitFor();
      await picture(page, `large-${width}-${colorScheme}`);
      expect(await violations(page)).toEqual([]);
    }
  });
});

/** Where words stand one below the other, letter by letter, nothing is cut off either. */
const NARROWEST = `Math.min(...[...document.querySelectorAll('td:first-of-type')].filter((cell) => cell.offsetWidth > 0).map((cell) => cell.offsetWidth))`;

/** For people to look at: RUDDER_SCREENSHOTS names the directory. */
async function picture(page: Page, name: string): Promise<void> {
  const target = process.env.RUDDER_SCREENSHOTS;
  if (target === undefined) return;
  mkdirSync(target, { recursive: true });
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(target, `${name}.png`), fullPage: true });
}

/** All that people look at a page with. */
async function pictures(page: Page, type: string, when: string): Promise<void> {
  if (process.env.RUDDER_SCREENSHOTS === undefined) return;
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await picture(page, `${type}-${when}-${width}-${colorScheme}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** The map alone, with what the style sheet says of it written to each element. */
function mapAsSvg(page: Page): Promise<string> {
  return page.evaluate(`(() => {
    const map = document.querySelector('#map svg');
    const copy = map.cloneNode(true);
    const drawn = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'opacity'];
    const written = [...drawn, 'stroke-linejoin', 'font-size', 'font-weight', 'paint-order', 'text-anchor'];
    const all = (root) => [...root.querySelectorAll('path, text')];
    all(map).forEach((shown, i) => {
      const style = getComputedStyle(shown);
      const target = all(copy)[i];
      for (const name of ['class', 'aria-hidden']) target.removeAttribute(name);
      for (const name of shown.tagName === 'text' ? written : drawn) if (!['none', 'normal', '1', ''].includes(style[name]) || name === 'fill') target.setAttribute(name, style[name]);
    });
    for (const link of copy.querySelectorAll('a')) {
      const group = document.createElementNS('http://www.w3.org/2000/svg', 'g');
      group.setAttribute('transform', link.getAttribute('transform'));
      group.append(...link.childNodes);
      link.replaceWith(group);
    }
    for (const name of ['class', 'role']) copy.removeAttribute(name);
    copy.setAttribute('aria-label', 'The map of a cluster');
    copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
    copy.setAttribute('font-family', 'system-ui, sans-serif');
    const ground = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    for (const [name, value] of [['width', '100%'], ['height', '100%'], ['rx', '10'], ['fill', 'white']]) ground.setAttribute(name, value);
    copy.prepend(ground);
    return copy.outerHTML;
  })()`);
}

/** What axe-core finds. It is put into the page by the browser itself, which the page's policy does not concern. */
async function violations(page: Page): Promise<string[]> {
  const path = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
  const { readFileSync } = await import('node:fs');
  if (!(await page.evaluate('window.axe !== undefined'))) await page.evaluate(readFileSync(path, 'utf8'));
  return page.evaluate(`axe.run().then(({ violations }) =>
    violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => id + ' ' + target + ' ' + failureSummary)))`);
}

/**
 * Of the updates that come, the median of what they take: scripts, styles, layout, painting, in time of that thread, so that
 * it counts nothing of what else the machine does. From one update to the next there is one update.
 */
async function mainThreadMs(page: Page, updates: number): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const busyMs = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const of = (wanted: string) => 1000 * metrics.find(({ name }) => name === wanted)!.value;
    return of('TaskDuration') - of('DevToolsCommandDuration');
  };
  const nextUpdate = () =>
    page.evaluate(`new Promise((resolve) => new PerformanceObserver((list, observer) => {
      if (list.getEntriesByName('update').length > 0) resolve(observer.disconnect());
    }).observe({ type: 'measure' }))`);
  const taken: number[] = [];
  await nextUpdate();
  let before = await busyMs();
  for (let i = 0; i < updates; i++) {
    await nextUpdate();
    const now = await busyMs();
    taken.push(now - before);
    before = now;
  }
  return taken.sort((a, b) => a - b)[updates >> 1];
}

/** Three hours, with a night and a morning. */
function imaginedPast(hasTraffic: boolean, hasDrops: boolean): History {
  const history = createHistory();
  let [bytes, dropped] = [0, 0];
  for (let i = 0; i < 1080; i++) {
    bytes +=
      STEP_SECONDS * 1e6 * Math.max(0.2, 3 + 3 * Math.sin(i / 170) + Math.sin(i / 7) * 0.6 + ((i * 7919) % 13) / 10);
    if (i > 700 && i < 760) dropped += 300;
    const rttMs = i > 400 && i < 430 ? null : 0.4 + ((i * 31) % 17) / 60;
    const traffic = hasTraffic ? { outBytes: bytes, inBytes: bytes * 0.4 } : { outBytes: null, inBytes: null };
    const peer = { subnet: '10.240.1.0/24', ...traffic, rttMs, isWell: rttMs !== null };
    addStep(history, [peer], hasDrops ? { in_drop_source: dropped } : {}, i * STEP_SECONDS);
  }
  return history;
}

const event = (id: number, kind: NodeEvent['kind'], subject: string | null, line: string): NodeEvent => ({
  id,
  time: new Date(Date.now() - (20 - id) * 190_000).toISOString(),
  kind,
  subject,
  line,
  fields: subject === null ? {} : { host: subject },
});
const EVENTS = [
  event(1, 'node.starting', null, 'starting (version 1.2.3)'),
  event(2, 'lease.taken', null, 'a subnet is leased (subnet 10.240.0.0/24)'),
  event(3, 'node.ready', null, 'ready (mtu 1472, interface eth0)'),
  event(4, 'peer.added', 'db-1', 'peer added (subnet 10.240.1.0/24, nextHop 192.0.2.1)'),
  event(5, 'peer.removed', 'cache-9', 'peer removed (subnet 10.239.1.0/24, nextHop 192.0.2.250)'),
  event(6, 'peer.silent', 'edge-1', 'peer is silent (subnet 10.240.4.0/24, nextHop 192.0.2.4)'),
  event(7, 'firewall.repaired', null, 'firewall rules are put back: somebody has removed them'),
];
