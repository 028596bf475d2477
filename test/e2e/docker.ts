import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { namespaceOf, nodeName } from '../../src/lab/names.js';
import { readSubnetEnv } from '../../src/lab/nodes.js';
import { type LabNode, type LabState, labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';

/** A Docker engine of its own. */
export interface Docker {
  /** Runs `docker ...` against this engine and returns its output. @throws with the output if it fails */
  docker(...args: string[]): Promise<string>;
  /** Ends the engine and starts it anew; its containers are started again. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export const IMAGE = 'busybox';
const START_DEADLINE_MS = 40_000;

/** For a lab's node, as the unit would start it: subnet and MTU from subnet.env. */
export async function startDocker(lab: LabState, node: LabNode, ...more: string[]): Promise<Docker> {
  const directory = `${labDirectory(lab.name)}/${nodeName(node)}/docker`;
  const engine = await startEngine(directory, namespaceOf(lab, nodeName(node)), () => {
    const env = readSubnetEnv(lab, node);
    // The storage driver that works on whatever the directory is.
    return [`--bip=${env.RUDDER_SUBNET}`, `--mtu=${env.RUDDER_MTU}`, '--storage-driver=vfs', ...more];
  });
  await engine.docker('import', await imageFile(directory), IMAGE);
  return engine;
}

/**
 * @param directory what it keeps
 * @param namespace undefined: this host's network
 * @param more further arguments, asked for at every start
 */
export async function startEngine(
  directory: string,
  namespace: string | undefined,
  more: () => string[],
): Promise<Docker> {
  mkdirSync(directory, { recursive: true });
  const socket = `unix://${directory}/docker.sock`;
  let engine: ChildProcess | undefined;

  async function docker(...args: string[]): Promise<string> {
    const result = await execa('docker', ['-H', socket, ...args], { all: true });
    return result.stdout;
  }

  async function start(): Promise<void> {
    const log = openSync(`${directory}/dockerd.log`, 'a');
    const command = [
      'dockerd',
      `--data-root=${directory}/data`,
      `--exec-root=${directory}/exec`,
      `--host=${socket}`,
      `--pidfile=${directory}/docker.pid`,
      ...more(),
    ];
    // nsenter and not "ip netns exec", which would hide the control groups.
    const enter = namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${namespace}`, '--'];
    const [program, ...args] = [...enter, ...command];
    engine = spawn(program, args, { stdio: ['ignore', log, log] });
    await waitFor('docker to answer', () => docker('version').then(() => true), START_DEADLINE_MS);
  }

  async function stop(): Promise<void> {
    if (engine === undefined || engine.exitCode !== null) return;
    engine.kill('SIGTERM');
    await once(engine, 'exit');
    // It leaves the network of "--network host" mounted.
    await execa('sh', ['-c', `umount ${directory}/exec/netns/* 2>/dev/null || true`]);
  }

  async function restart(): Promise<void> {
    await stop();
    await start();
  }

  await start();
  return { docker, stop, restart };
}

/** An image of one static program, and a web page that tells who asks. */
export async function imageFile(directory: string): Promise<string> {
  const root = `${directory}/rootfs`;
  mkdirSync(`${root}/bin`, { recursive: true });
  mkdirSync(`${root}/www/cgi-bin`, { recursive: true });
  cpSync('/bin/busybox', `${root}/bin/busybox`);
  await execa(`${root}/bin/busybox`, ['--install', '-s', `${root}/bin`]);
  // The links point to the program by its name on this host; in the image it has another.
  await execa('sh', ['-c', `for f in ${root}/bin/*; do [ -L $f ] && ln -sf busybox $f; done; true`]);
  const page = `${root}/www/cgi-bin/who`;
  // An IPv4 address is shown as [::ffff:10.240.26.2] by a server that listens on both kinds.
  const who = `addr=\${REMOTE_ADDR##*:}; printf "Content-Type: text/plain\\r\\n\\r\\n\${addr%]}"`;
  writeFileSync(page, `#!/bin/sh\n${who}\n`);
  chmodSync(page, 0o755);
  const file = `${directory}/image.tar`;
  await execa('tar', ['-C', root, '-cf', file, '.']);
  return file;
}
