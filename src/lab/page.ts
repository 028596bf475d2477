import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf, RudderError } from '../core/errors.js';
import { namespaceOf, nodeName } from './names.js';
import { spawnInNamespace } from './process.js';
import { type LabState, labDirectory, saveLab } from './state.js';

const RELAY = fileURLToPath(new URL('../../dist/lab/page-relay.js', import.meta.url));
/** In the namespace of each node, and on the host's loopback if nobody has it. */
const PORT = 9478;

/** With which each daemon serves its page. */
export const PAGE_ARGUMENTS = [`--healthz-port=${PORT}`];

/** Makes the page of the first node reachable from this host, whose browser sees none of the lab's addresses. */
export async function servePage(lab: LabState): Promise<string> {
  const outside = await listenOnLoopback(PORT).catch(() => listenOnLoopback(0));
  const command = [process.execPath, RELAY, String(PORT)];
  const url = `http://127.0.0.1:${(outside.address() as AddressInfo).port}/`;
  try {
    const namespace = namespaceOf(lab, nodeName(lab.nodes[0]));
    const relay = await spawnInNamespace(namespace, command, `${labDirectory(lab.name)}/page.log`, {}, outside);
    lab.page = { ...relay, url };
  } finally {
    outside.close();
  }
  saveLab(lab);
  return url;
}

async function listenOnLoopback(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (error) => reject(new RudderError('socket', `cannot serve the page: ${messageOf(error)}`)));
    server.listen(port, '127.0.0.1');
  });
  return server;
}

/** In the browser of who sits here, if somebody does: the address is told anyway. */
export function showInBrowser(url: string): void {
  const { DISPLAY, WAYLAND_DISPLAY, PATH = '' } = process.env;
  if (DISPLAY === undefined && WAYLAND_DISPLAY === undefined) return;
  const opener = PATH.split(delimiter)
    .map((directory) => join(directory, 'xdg-open'))
    .find(isExecutable);
  if (opener === undefined) return;
  spawn(opener, [url], { detached: true, stdio: 'ignore' })
    .on('error', () => undefined)
    .unref();
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
