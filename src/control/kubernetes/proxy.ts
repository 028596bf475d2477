import { request } from 'node:http';
import { BlockList, isIP, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { quote, RudderError, shorten } from '../../core/errors.js';
import type { Connection } from './kube-config.js';

/**
 * The proxy that stands between us and the API, if any. Read here and for the API alone: nothing else that we do goes by
 * one. @throws RudderError `usage`
 */
export function proxyFor(
  { server, proxyUrl }: Pick<Connection, 'server' | 'proxyUrl'>,
  environment: Readonly<Record<string, string | undefined>>,
): URL | undefined {
  const { hostname, port, protocol } = new URL(server);
  const either = (name: string) => environment[name] || environment[name.toLowerCase()] || undefined;
  const isExempt = () =>
    isExempted(hostname.replace(/^\[|\]$/g, ''), port || (protocol === 'https:' ? '443' : '80'), either('NO_PROXY'));
  const told = proxyUrl ?? (isExempt() ? undefined : either(protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY'));
  if (told === undefined) return undefined;
  const text = told.includes('://') ? told : `http://${told}`;
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return new URL(text);
  throw new RudderError(
    'usage',
    `proxy ${quote(withoutPassword(told))} for the Kubernetes API: expected http://host:port or https://host:port; correct HTTPS_PROXY or the kubeconfig's proxy-url`,
  );
}

const withoutPassword = (url: string) => url.replace(/\/\/[^@/]*@/, '//');

/** As Go's programs read NO_PROXY: names, `.domains`, addresses and networks, each with a port or without. */
function isExempted(host: string, port: string, list: string | undefined): boolean {
  if (host === 'localhost' || host.startsWith('127.') || host === '::1') return true;
  return (list ?? '').split(',').some((part) => {
    const entry = part.trim().toLowerCase();
    if (entry === '') return false;
    if (entry === '*') return true;
    const [, name, only] = /^\[?([^\]]*?)\]?(?::(\d+))?$/.exec(entry) ?? [];
    if (isIP(host) && entry.includes('/')) return isWithin(host, entry);
    if (isIP(entry)) return entry === host;
    if (name === undefined || (only !== undefined && only !== port)) return false;
    const bare = name.replace(/^\*?\./, '');
    return host === bare ? !name.startsWith('.') : host.endsWith(`.${bare}`);
  });
}

function isWithin(host: string, network: string): boolean {
  const [address, length] = network.split('/');
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(address) === 0 || isIP(host) !== isIP(address)) return false;
  const networks = new BlockList();
  try {
    networks.addSubnet(address, Number(length), family);
    return networks.check(host, family);
  } catch {
    return false;
  }
}

/** Asks the proxy for a way to the server (CONNECT). @throws Error if it gives none */
export function throughProxy(proxy: URL, host: string, port: number, deadlineMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const target = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    const authorization =
      proxy.username === '' ? {} : { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` };
    const isTls = proxy.protocol === 'https:';
    const at = { host: proxy.hostname.replace(/^\[|\]$/g, ''), port: Number(proxy.port) || (isTls ? 443 : 80) };
    const asking = request({
      ...at,
      // An agent would make the connection its own way.
      ...(isTls
        ? { createConnection: () => connect({ ...at, servername: isIP(at.host) ? '' : at.host }) }
        : { agent: false }),
      method: 'CONNECT',
      path: target,
      headers: { host: target, ...authorization },
      timeout: deadlineMs,
    });
    asking.on('connect', (response, socket) => {
      if (response.statusCode === 200) return resolve(socket as Socket);
      socket.destroy();
      const said = shorten(response.statusMessage ?? '', 80);
      reject(new Error(`the proxy ${proxy.host} answers ${response.statusCode} ${said}`));
    });
    asking.on('timeout', () => asking.destroy(new Error(`the proxy ${proxy.host} does not answer`)));
    asking.on('error', (error) => reject(new Error(`by the proxy ${proxy.host}: ${error.message}`)));
    asking.end();
  });
}
