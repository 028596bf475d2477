import { copyFileSync, cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { execa } from 'execa';
import type { Docker } from '../e2e/docker.js';
import { makeTree } from './machine.js';

export const QUIET_NETWORK = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false'];

/**
 * The image of the Dockerfile, on bases made of Debian and this host's Node.js: a test pulls nothing from a hub.
 * @param name such as rudder:0.1.0; its base is `rudder-base`
 * @returns trees to remove
 */
export async function buildImage(builder: Docker, name: string): Promise<string[]> {
  const trees = [
    await importBase(builder, 'rudder-build-base', ['g++', 'make', 'python3', 'ca-certificates'], true),
    await importBase(builder, 'rudder-base', ['iptables', 'nftables', 'iproute2', 'iputils-ping', 'libstdc++6'], false),
  ];
  const bases = ['--build-arg=BUILD_IMAGE=rudder-build-base', '--build-arg=BASE_IMAGE=rudder-base'];
  await builder.docker('build', '--network=host', ...bases, '-t', name, '.');
  return trees;
}

async function importBase(builder: Docker, name: string, packages: string[], withNpm: boolean): Promise<string> {
  const tree = await makeTree(name, packages);
  installNode(tree, withNpm);
  if (withNpm) {
    for (const tool of ['npm', 'npx']) {
      await execa('ln', ['-sf', `../lib/node_modules/npm/bin/${tool}-cli.js`, `${tree}/usr/local/bin/${tool}`]);
    }
    const certificates = process.env.NODE_EXTRA_CA_CERTS;
    if (certificates !== undefined && existsSync(certificates)) {
      mkdirSync(dirname(`${tree}${certificates}`), { recursive: true });
      copyFileSync(certificates, `${tree}${certificates}`);
    }
    copyFileSync('/etc/resolv.conf', `${tree}/etc/resolv.conf`);
  }
  await execa('tar', ['-C', tree, '-cf', `${tree}.tar`, '.']);
  const trust = process.env.NODE_EXTRA_CA_CERTS;
  const change = trust === undefined ? [] : ['--change', `ENV NODE_EXTRA_CA_CERTS=${trust}`];
  await builder.docker('import', ...change, `${tree}.tar`, name);
  await execa('rm', [`${tree}.tar`]);
  return tree;
}

/** Node.js with npm and headers, at the places of the official image, and what npm has to know of this host. */
function installNode(tree: string, withNpm: boolean): void {
  const prefix = dirname(dirname(process.execPath));
  const parts = withNpm ? ['lib/node_modules/npm', 'include/node'] : [];
  mkdirSync(`${tree}/usr/local/bin`, { recursive: true });
  copyFileSync(process.execPath, `${tree}/usr/local/bin/node`);
  for (const part of parts) cpSync(`${prefix}/${part}`, `${tree}/usr/local/${part}`, { recursive: true });
}
