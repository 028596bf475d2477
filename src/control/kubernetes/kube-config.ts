import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { messageOf, quote, RudderError } from '../../core/errors.js';
import type { KubernetesOptions } from './options.js';

/** How the API is spoken to, as flags and files say it at this moment. */
export interface Connection {
  /** Without a trailing slash. */
  readonly server: string;
  readonly ca?: Pem | undefined;
  readonly cert?: Pem | undefined;
  readonly key?: Pem | undefined;
  /** The name that the server's certificate must have, if not that of the URL. */
  readonly tlsServerName?: string | undefined;
  /** `insecure-skip-tls-verify`: whoever answers is believed. */
  readonly isUnverified: boolean;
  /** The header; undefined: we come as nobody. */
  readonly authorization?: string | undefined;
  readonly proxyUrl?: string | undefined;
}

export interface Pem {
  /** Where it was found, for those who have to replace it. */
  readonly file: string;
  readonly pem: Buffer;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Read again for each request: tokens are replaced every hour, and certificates when they end.
 * @throws RudderError `usage`, or `file` for what cannot be read
 */
export function readConnection(options: KubernetesOptions): Connection {
  const { apiUrl, kubeconfigFile } = options;
  const found = kubeconfigFile === undefined ? serviceAccountOf(options) : readKubeconfig(kubeconfigFile);
  const connection = apiUrl === undefined ? found : { ...found, server: apiUrl };
  // Whoever is on the way would have it.
  return connection.server.startsWith('http:') ? { ...connection, authorization: undefined } : connection;
}

/** Of the pod; with `--kube-api-url` alone a host that is none has none. */
function serviceAccountOf({ apiUrl, environment, serviceAccountDirectory }: KubernetesOptions): Connection {
  const directory = serviceAccountDirectory ?? SERVICE_ACCOUNT;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (apiUrl === undefined && !(host && port)) {
    throw new RudderError(
      'usage',
      '--kube-subnet-mgr without --kube-api-url or --kubeconfig-file outside of a pod: expected KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which every pod has; give --kubeconfig-file',
    );
  }
  const server = apiUrl ?? `https://${host?.includes(':') ? `[${host}]` : host}:${port}`;
  const token = readIfThere(join(directory, 'token'));
  const ca = readIfThere(join(directory, 'ca.crt'));
  if (apiUrl === undefined && token === undefined) {
    throw new RudderError(
      'file',
      `cannot read the service account's token in ${directory}: expected it in every pod; set automountServiceAccountToken to true, or give --kubeconfig-file`,
    );
  }
  const authorization = token === undefined ? undefined : bearer(token.pem.toString('utf8'));
  return { server, ca, authorization, isUnverified: false };
}

const bearer = (token: string) => `Bearer ${token.trim()}`;

function readIfThere(file: string): Pem | undefined {
  try {
    return { file, pem: readFileSync(file) };
  } catch {
    return undefined;
  }
}

const text = z.string().min(1).nullish();
const kubeconfig = z.object({
  'current-context': text,
  clusters: z
    .array(
      z.object({
        name: z.string(),
        cluster: z.object({
          server: z.string(),
          'certificate-authority': text,
          'certificate-authority-data': text,
          'insecure-skip-tls-verify': z.boolean().nullish(),
          'tls-server-name': text,
          'proxy-url': text,
        }),
      }),
    )
    .nullish(),
  users: z
    .array(
      z.object({
        name: z.string(),
        user: z
          .object({
            'client-certificate': text,
            'client-certificate-data': text,
            'client-key': text,
            'client-key-data': text,
            token: text,
            tokenFile: text,
            username: text,
            password: z.string().nullish(),
            exec: z.unknown().optional(),
            'auth-provider': z.unknown().optional(),
          })
          .nullish(),
      }),
    )
    .nullish(),
  contexts: z.array(z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: text }) })).nullish(),
});

type Kubeconfig = z.infer<typeof kubeconfig>;
type User = NonNullable<NonNullable<Kubeconfig['users']>[number]['user']>;

function readKubeconfig(file: string): Connection {
  const { 'current-context': current, clusters, users, contexts } = parseKubeconfig(file);
  const context = named(file, 'context', current ?? '', contexts).context;
  const { cluster } = named(file, 'cluster', context.cluster, clusters);
  const user = context.user ? (named(file, 'user', context.user, users).user ?? {}) : {};
  refusePlugins(file, context.user ?? '', user);
  const server = cluster.server.replace(/\/+$/, '');
  if (!/^https?:\/\/[^\s/]+/.test(server) || !URL.canParse(server)) {
    throw wrong(file, `has the server ${quote(server)}`, 'a URL such as https://10.1.1.1:6443');
  }
  const pem = (data: string | null | undefined, path: string | null | undefined): Pem | undefined => {
    if (data) return { file, pem: Buffer.from(data, 'base64') };
    return path ? { file: pathIn(file, path), pem: readFile(pathIn(file, path)) } : undefined;
  };
  return {
    server,
    ca: pem(cluster['certificate-authority-data'], cluster['certificate-authority']),
    cert: pem(user['client-certificate-data'], user['client-certificate']),
    key: pem(user['client-key-data'], user['client-key']),
    tlsServerName: cluster['tls-server-name'] ?? undefined,
    isUnverified: cluster['insecure-skip-tls-verify'] ?? false,
    authorization: authorizationOf(file, user),
    proxyUrl: cluster['proxy-url'] ?? undefined,
  };
}

function parseKubeconfig(file: string): Kubeconfig {
  let read: unknown;
  try {
    // What the parser says of an error quotes the file.
    read = parse(readFile(file).toString('utf8'), { prettyErrors: false });
  } catch (error) {
    if (error instanceof RudderError) throw error;
    throw wrong(file, 'is no YAML', 'a kubeconfig, as kubectl reads it');
  }
  const result = kubeconfig.safeParse(read);
  if (result.success) return result.data;
  const path = result.error.issues[0].path.map(String).join('.') || 'the whole of it';
  throw wrong(file, `has ${path} wrong`, 'a kubeconfig, as kubectl reads it');
}

function named<T extends { readonly name: string }>(
  file: string,
  what: string,
  name: string,
  all: readonly T[] | null | undefined,
): T {
  const found = all?.find((one) => one.name === name);
  if (found !== undefined) return found;
  const where = what === 'context' ? 'current-context' : 'its current context';
  throw wrong(file, `has no ${what} ${quote(name)}, which ${where} names`, `one of that name`);
}

/** They run programs and speak to others: a daemon of root's does neither. */
function refusePlugins(file: string, name: string, user: User): void {
  const plugin = user.exec ? 'exec' : user['auth-provider'] ? 'auth-provider' : undefined;
  if (plugin === undefined) return;
  throw wrong(
    file,
    `logs user ${quote(name)} in by the plugin ${quote(plugin)}, which rudder does not run`,
    'a token, a tokenFile or a client certificate, such as a service account has',
  );
}

function authorizationOf(file: string, user: User): string | undefined {
  // As kubectl: the file comes first, since it is replaced.
  if (user.tokenFile) return bearer(readFile(pathIn(file, user.tokenFile)).toString('utf8'));
  if (user.token) return bearer(user.token);
  if (!user.username) return undefined;
  return `Basic ${Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')}`;
}

const pathIn = (file: string, path: string) => resolve(dirname(file), path);

function readFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot read ${file}: ${messageOf(error)}; expected what --kubeconfig-file names, correct it there`,
      { cause: error },
    );
  }
}

function wrong(file: string, what: string, expected: string): RudderError {
  return new RudderError('usage', `kubeconfig ${file} ${what}: expected ${expected}; correct it, or name another one`);
}
