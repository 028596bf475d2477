import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/** One import, export-from or import() of one file; paths are relative to src. */
interface Import {
  readonly from: string;
  /** A file of src, `npm:<package>` or `node:<module>`. */
  readonly to: string;
  /** Gone after compilation, so that it loads nothing. */
  readonly typeOnly: boolean;
  /** import(): loaded when it is come to. */
  readonly deferred?: true;
}

const SRC = fileURLToPath(new URL('../../src', import.meta.url));
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const sources = new Map(files.map((file) => [file, readFileSync(`${SRC}/${file}`, 'utf8')]));
const imports = [...sources].flatMap(([file, text]) => importsIn(file, text));

/** By syntax and not by line: an import may span several. */
function importsIn(file: string, text: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, typeOnly: boolean, deferred?: true) => {
    if (specifier === undefined) return;
    if (!ts.isStringLiteralLike(specifier)) throw new Error(`${file}: import of something that is no plain text`);
    found.push({ from: file, to: target(file, specifier.text), typeOnly, ...(deferred && { deferred }) });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly === true);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], false, true);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest));
  return found;
}

function target(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts');
  if (isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
  return `npm:${specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')}`;
}

const line = ({ from, to }: Import) => `${from} imports ${to}`;
const folderOf = (file: string) => file.split('/')[0];

/** design.md, section 3: which folders a folder may import from, besides itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  system: ['core'],
  state: ['core'],
  control: ['core'],
  ops: ['core'],
  health: ['core', 'system'],
  cluster: ['core', 'ops'],
  events: ['core', 'state'],
  history: ['core'],
  backend: ['core', 'system', 'state'],
  daemon: ['core', 'system', 'state', 'control', 'ops', 'health', 'cluster', 'events', 'history', 'backend'],
  lab: ['core', 'ops'],
  // Runs in a checkout only, and measures parts by themselves too.
  bench: ['core', 'system', 'lab', 'control', 'backend'],
  cli: [
    'core',
    'system',
    'state',
    'control',
    'ops',
    'health',
    'cluster',
    'events',
    'history',
    'backend',
    'daemon',
    'lab',
  ],
};

const breaksLayers = ({ from, to }: Import) =>
  !/^(npm|node):/.test(to) && folderOf(to) !== folderOf(from) && !MAY_IMPORT[folderOf(from)]?.includes(folderOf(to));

/** The rooms of backend/packet-path: which of them a room may import from, besides itself. The control side may all. */
const ROOMS: Record<string, readonly string[]> = { wire: [], tables: [], datapath: ['wire', 'tables'] };

const roomOf = (file: string) => /^backend\/packet-path\/(?:(\w+)\/)?/.exec(file)?.[1] ?? file;

const breaksRooms = ({ from, to }: Import) =>
  to.startsWith('backend/packet-path/') &&
  ROOMS[roomOf(from)] !== undefined &&
  roomOf(to) !== roomOf(from) &&
  !ROOMS[roomOf(from)].includes(roomOf(to));

/** What kinds of backend share knows none of them, and no kind another one. */
const KIND = /^backend\/(udp|wireguard|vxlan|host-gw|alloc)\//;
const breaksSharing = ({ from, to }: Import) => {
  const known = KIND.exec(to)?.[1];
  const isShared = /^backend\/(packet-path|kernel)\//.test(from);
  return known !== undefined && (isShared || (KIND.test(from) && KIND.exec(from)?.[1] !== known));
};

/** Files outside of a store's folder that may know which store it is. The other one plays many nodes at once. */
const KNOW_STORES = ['control/open.ts', 'bench/churn.ts'];

const breaksMembership = ({ from, to }: Import) =>
  to.startsWith('control/etcd/') && !from.startsWith('control/etcd/') && !KNOW_STORES.includes(from);

/** Packages that these files alone may know. */
const ONLY_IN: Record<string, readonly string[]> = {
  // Which takes the environment away from gRPC before it loads it.
  'npm:etcd3': ['control/etcd/library.ts'],
  'npm:@grpc/grpc-js': ['control/etcd/library.ts'],
  'npm:netlink': ['system/netlink.ts', 'system/netlink/netfilter.ts', 'system/netlink/requests.ts'],
  'npm:@noble/ciphers': ['backend/wireguard/protocol/primitives.ts'],
  'npm:@noble/hashes': ['backend/wireguard/protocol/primitives.ts'],
};

const breaksMonopoly = ({ from, to }: Import) => ONLY_IN[to] !== undefined && !ONLY_IN[to].includes(from);

/** WireGuard's protocol is a function of what it is given: no socket, no file, no clock. */
const breaksPurity = ({ from, to }: Import) =>
  from.startsWith('backend/wireguard/protocol/') &&
  !to.startsWith('backend/wireguard/protocol/') &&
  to !== 'node:crypto' &&
  !to.startsWith('npm:@noble/');

/** What loading a file loads, the file included. */
function reachableFrom(start: string, all: readonly Import[]): Set<string> {
  const seen = new Set([start]);
  for (const file of seen) {
    for (const { from, to, typeOnly } of all) if (from === file && !typeOnly) seen.add(to);
  }
  return seen;
}

/** Imports of npm packages by the files that a file loads. */
function npmImportsUnder(start: string, all: readonly Import[]): Import[] {
  const loaded = reachableFrom(start, all);
  return all.filter(({ from, to, typeOnly }) => !typeOnly && loaded.has(from) && to.startsWith('npm:'));
}

describe('imports of src', () => {
  it('are of files that exist', () => {
    const missing = imports.filter(({ to }) => !/^(npm|node):/.test(to) && !sources.has(to));
    expect(missing.map(line)).toEqual([]);
  });

  it('are all in folders that the layers know', () => {
    expect(files.filter((file) => !file.includes('/') || MAY_IMPORT[folderOf(file)] === undefined)).toEqual([]);
  });

  it('go down only', () => {
    expect(imports.filter(breaksLayers).map(line)).toEqual([]);
  });

  it('of the rooms of backend/packet-path know packets, then tables, then the worker', () => {
    expect(imports.filter(breaksRooms).map(line)).toEqual([]);
    for (const room of Object.keys(ROOMS)) expect(files.map(roomOf)).toContain(room);
  });

  it('of what kinds of backend share are of none of them, and those of a kind of no other one', () => {
    expect(imports.filter(breaksSharing).map(line)).toEqual([]);
    expect(files.filter((file) => /^backend\/[^/]+\/kind\.ts$/.test(file)).filter((file) => !KIND.test(file))).toEqual(
      [],
    );
    const breaks = (from: string) => breaksSharing({ from, to: 'backend/udp/kind.ts', typeOnly: false });
    expect(
      ['backend/vxlan/kind.ts', 'backend/kernel/plan.ts', 'backend/packet-path/handles.ts'].filter(breaks),
    ).toHaveLength(3);
    expect(['backend/udp/udp-backend.ts', 'backend/kinds.ts', 'bench/hostile.ts'].filter(breaks)).toEqual([]);
    expect(
      imports.some(({ from, to }) => from.startsWith('backend/udp/') && to.startsWith('backend/packet-path/')),
    ).toBe(true);
  });

  it("of a store's folder are in the one file that chooses among stores", () => {
    expect(imports.filter(breaksMembership).map(line)).toEqual([]);
    expect(imports.some(({ from, to }) => from === 'control/open.ts' && to.startsWith('control/etcd/'))).toBe(true);
  });

  it('bring the library of etcd only where there is an etcd', () => {
    const atOnce = imports.filter(({ typeOnly, deferred }) => !typeOnly && !deferred);
    const loaded = new Set(['daemon/daemon.ts', 'cli/run.ts']);
    for (const file of loaded) for (const { from, to } of atOnce) if (from === file) loaded.add(to);
    expect([...loaded]).toContain('control/kubernetes/kube-membership.ts');
    expect([...loaded].filter((file) => /etcd3|grpc/.test(file))).toEqual([]);
  });

  it("of WireGuard's protocol are of cryptography, and of nothing else", () => {
    expect(imports.filter(breaksPurity).map(line)).toEqual([]);
    expect(files.some((file) => file.startsWith('backend/wireguard/protocol/'))).toBe(true);
  });

  it('of etcd3 and netlink, and of ciphers, are in their own files only', () => {
    expect(imports.filter(breaksMonopoly).map(line)).toEqual([]);
    for (const [to, files] of Object.entries(ONLY_IN)) {
      for (const from of files) expect(imports).toContainEqual({ from, to, typeOnly: false });
    }
  });

  it('of npm are of declared dependencies', () => {
    const manifest = JSON.parse(readFileSync(`${SRC}/../package.json`, 'utf8'));
    const declared = new Set(Object.keys(manifest.dependencies).map((name) => `npm:${name}`));
    // The benchmark runs only in a checkout, where the tools of development are.
    const ofBench = new Set(Object.keys(manifest.devDependencies).map((name) => `npm:${name}`));
    const isDeclared = ({ from, to }: { from: string; to: string }) =>
      declared.has(to) || (from.startsWith('bench/') && ofBench.has(to));
    expect(imports.filter((found) => found.to.startsWith('npm:') && !isDeclared(found)).map(line)).toEqual([]);
  });

  it('load the addon in system/native.ts only', () => {
    const loading = /\brequire\s*\(|createRequire|dlopen|rudder_native|\.node['"`]/;
    const loaders = [...sources].filter(([, text]) => loading.test(text)).map(([file]) => file);
    expect(loaders).toEqual(['system/native.ts']);
  });

  // The worker's thread parses and runs what this loads before the first packet.
  it('of the packet path load nothing from npm', () => {
    expect(reachableFrom('backend/packet-path/datapath/worker.ts', imports)).toContain(
      'backend/packet-path/datapath/outbound.ts',
    );
    expect(npmImportsUnder('backend/packet-path/datapath/worker.ts', imports).map(line)).toEqual([]);
  });
});

describe('the rules', () => {
  const rule = (file: string, text: string) => importsIn(file, text);

  it.each([
    ['core/ipv4.ts', "import { native } from '../system/native.js';", 'system/native.ts'],
    ['control/retry.ts', "import type { Backend } from '../backend/backend.js';", 'backend/backend.ts'],
    ['backend/packet-path/datapath/loop.ts', "import {\n  a,\n} from '../../../control/retry.js';", 'control/retry.ts'],
    ['backend/packet-path/datapath/loop.ts', "export * from '../../../ops/logger.js';", 'ops/logger.ts'],
    ['daemon/daemon.ts', "const up = await import('../lab/lab.js');", 'lab/lab.ts'],
    ['daemon/daemon.ts', "import '../cli/main.js';", 'cli/main.ts'],
    ['cli/lab.ts', "import('../bench/main.js');", 'bench/main.ts'],
    ['lab/lab.ts', "type A = import('../system/native.js').Native;", 'system/native.ts'],
    ['system/tun-device.ts', "import { x } from '../ops/logger.js';", 'ops/logger.ts'],
    ['ops/logger.ts', "import { x } from '../system/native.js';", 'system/native.ts'],
    ['control/membership.ts', "import { x } from '../state/node-state.js';", 'state/node-state.ts'],
  ])('forbid %s: %s', (file, text, to) => {
    expect(rule(file, text).filter(breaksLayers).map(line)).toEqual([`${file} imports ${to}`]);
  });

  it.each([
    ['cli/lab.ts', "import('../lab/commands.js');"],
    ['daemon/daemon.ts', "import { a } from '../backend/udp/udp-backend.js';"],
    ['backend/packet-path/datapath/loop.ts', "import { a } from '../../../system/native.js';"],
    ['lab/lab.ts', "import { execa } from 'execa'; import { a } from '../core/errors.js'; import './names.js';"],
  ])('allow %s: %s', (file, text) => {
    expect(rule(file, text).length).toBeGreaterThan(0);
    expect(rule(file, text).filter(breaksLayers)).toEqual([]);
  });

  it.each([
    ['backend/packet-path/wire/icmp.ts', "import { x } from '../tables/memory.js';"],
    ['backend/packet-path/tables/peers.ts', "import { x } from '../datapath/loop.js';"],
    ['backend/packet-path/datapath/loop.ts', "import { x } from '../tun-backend.js';"],
    ['backend/packet-path/tables/peers.ts', "import type { X } from '../handles.js';"],
  ])('forbid a room %s: %s', (file, text) => {
    expect(rule(file, text).filter(breaksRooms)).toHaveLength(1);
  });

  it.each([
    ['daemon/daemon.ts', "import { createEtcdRegistry } from '../control/etcd/etcd-registry.js';"],
    ['cli/leases.ts', "import type { LeaseEntry } from '../control/etcd/registry.js';"],
    ['control/retry.ts', "import { NO_TTL } from './etcd/registry.js';"],
  ])('forbid a store in %s: %s', (file, text) => {
    expect(rule(file, text).filter(breaksMembership)).toHaveLength(1);
  });

  it('forbid etcd3 and netlink elsewhere, as types too', () => {
    const made = rule('control/retry.ts', "import type { Etcd3 } from 'etcd3'; import { x } from 'netlink/lib/rt';");
    expect(made.filter(breaksMonopoly).map(line)).toEqual([
      'control/retry.ts imports npm:etcd3',
      'control/retry.ts imports npm:netlink',
    ]);
  });

  it('find npm behind several files, and forgive types', () => {
    const made = [
      ...rule('a.ts', "import './b.js'; import type { T } from './c.js';"),
      ...rule('b.ts', "import { type D } from './d.js'; import fs from 'fs';"),
      ...rule('c.ts', "import 'zod';"),
      ...rule('d.ts', "import { Address4 } from '@scope/ip-address/v4'; import type { Z } from 'zod';"),
    ];
    expect(npmImportsUnder('a.ts', made).map(line)).toEqual(['d.ts imports npm:@scope/ip-address']);
  });
});
