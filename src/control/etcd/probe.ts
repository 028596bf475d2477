import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { endOf, subjectOf } from '../../core/certificates.js';
import { errnoOf, messageOf, shorten } from '../../core/errors.js';
import { within } from '../retry.js';
import type { Tls } from './credentials.js';
import { Finding } from './errors.js';

/** gRPC tells of most failed connections that they failed: these look at the endpoint itself, to say why. */

const NAME_TIMEOUT_MS = 2000;
const PROBE_TIMEOUT_MS = 1000;
/** After a handshake a server may still refuse our certificate (TLS 1.3). */
const VERDICT_MS = 300;
const MOST_ANSWER_BYTES = 4096;

export interface HostPort {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

export function hostPortOf(endpoint: string): HostPort {
  const { hostname, port, protocol } = new URL(endpoint);
  const isTls = protocol === 'https:';
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || (isTls ? 443 : 80)), isTls };
}

/** One for each name: the C library's resolver cannot be stopped, and has few threads. */
const lookups = new Map<string, Promise<unknown>>();

/** Resolves if the name does. gRPC would wait for its resolver for as long as that takes. @throws Finding `name` */
export async function checkName(host: string): Promise<void> {
  if (isIP(host) !== 0) return;
  let pending = lookups.get(host);
  if (pending === undefined) {
    pending = lookup(host).finally(() => lookups.delete(host));
    pending.catch(() => undefined);
    lookups.set(host, pending);
  }
  try {
    await within(NAME_TIMEOUT_MS, pending, () => new Finding('name', 'DNS does not answer'));
  } catch (error) {
    if (error instanceof Finding) throw error;
    throw new Finding('name', errnoOf(error) ?? 'no reason given');
  }
}

/** What is wrong with an endpoint that could not be connected to; undefined: it cannot tell either. */
export async function probe(endpoint: string, tls: Tls | undefined): Promise<Finding | undefined> {
  const target = hostPortOf(endpoint);
  return target.isTls ? probeTls(target, tls) : probePlain(target);
}

async function probePlain(target: HostPort): Promise<Finding | undefined> {
  const { host, port } = target;
  const { answer } = await ask(connectTcp({ host, port }), host);
  // A TLS alert, or Go's words for us.
  if (answer[0] === 0x15 || /HTTP request to an HTTPS server/.test(answer.toString('latin1'))) {
    return new Finding('tls-wanted', '');
  }
  // etcd itself hangs up without a word.
  if (answer.length === 0 && (await speaksTls(target))) return new Finding('tls-wanted', '');
  return webServer(answer);
}

async function speaksTls({ host, port }: HostPort): Promise<boolean> {
  let isSecure = false;
  const socket = connectTls({ host, port, servername: nameFor(host), rejectUnauthorized: false });
  await ask(socket, host, () => {
    isSecure = true;
    socket.destroy();
    return false;
  });
  return isSecure;
}

/** TLS knows no addresses as names. */
const nameFor = (host: string) => (isIP(host) === 0 ? host : undefined);

function webServer(answer: Buffer): Finding | undefined {
  const text = answer.toString('latin1');
  const status = /^HTTP\/1\.\d (\d+)/.exec(text)?.[1];
  // etcd answers this request too.
  return status === undefined || text.includes('"etcdserver"')
    ? undefined
    : new Finding('web', `HTTP status ${status}`);
}

async function probeTls(target: HostPort, tls: Tls | undefined): Promise<Finding | undefined> {
  const { host, port } = target;
  const socket = connectTls({
    host,
    port,
    servername: nameFor(host),
    ca: tls?.ca,
    cert: tls?.cert,
    key: tls?.key,
    // Whom we do not trust is looked at, and told nothing.
    rejectUnauthorized: false,
    ALPNProtocols: ['h2', 'http/1.1'],
  });
  let distrust: Finding | undefined;
  let isWeb = false;
  const onSecure = () => {
    distrust = distrustOf(socket, tls);
    isWeb = socket.alpnProtocol === 'http/1.1' || socket.alpnProtocol === false;
    return distrust === undefined && isWeb;
  };
  const { answer, error } = await ask(socket, host, onSecure);
  if (distrust !== undefined) return distrust;
  const text = messageOf(error ?? '');
  if (/alert/.test(text) && !/alert number (?:70|80|120)\b/.test(text)) return clientCertificate(tls);
  if (isWeb) return webServer(answer);
  if (error === undefined) return undefined;
  // Something else than TLS, or somebody who hangs up: does it speak without TLS?
  const plain = await ask(connectTcp({ host, port }), host);
  return /^HTTP\//.test(plain.answer.toString('latin1')) ? new Finding('plain', '') : undefined;
}

/** Why Node does not trust the server, with what a person needs to find the certificate. */
function distrustOf(socket: TLSSocket, tls: Tls | undefined): Finding | undefined {
  if (socket.authorized) return undefined;
  const reason = String((socket.authorizationError as { code?: string } | null)?.code ?? socket.authorizationError);
  const { raw } = socket.getPeerCertificate();
  if (raw === undefined) return undefined;
  const certificate = new X509Certificate(raw);
  const name = `"${shorten(subjectOf(certificate), 200)}"`;
  switch (reason) {
    case 'CERT_HAS_EXPIRED': {
      if (endOf(certificate) <= Date.now()) {
        const date = new Date(endOf(certificate)).toISOString();
        return new Finding('certificate-expired', `the certificate ${name} of etcd has expired, on ${date}`);
      }
      const ca = tls?.ends.find(({ notAfter }) => Date.parse(notAfter) <= Date.now());
      if (ca === undefined)
        return new Finding('certificate-expired', `the CA of etcd's certificate ${name} has expired`);
      return new Finding('certificate-expired', `the CA "${ca.subject}" in ${ca.file} has expired, on ${ca.notAfter}`);
    }
    case 'CERT_NOT_YET_VALID': {
      const date = new Date(Date.parse(certificate.validFrom)).toISOString();
      return new Finding('certificate-not-yet', `the certificate ${name} of etcd is valid from ${date} on`);
    }
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return new Finding('wrong-name', shorten(certificate.subjectAltName ?? name, 200));
    default:
      return new Finding('no-trust', ` ${name}`);
  }
}

/** The server has refused us in the handshake: most of them do not say more than that. */
function clientCertificate(tls: Tls | undefined): Finding {
  if (tls?.cert === undefined) return new Finding('client-certificate-missing', '');
  const own = tls.ends[tls.ends.length - 1];
  if (Date.parse(own.notAfter) <= Date.now()) {
    return new Finding('own-certificate-expired', `"${own.subject}" in ${own.file} has expired, on ${own.notAfter}`);
  }
  return new Finding('client-certificate', ` "${own.subject}" in ${own.file}`);
}

interface Heard {
  readonly answer: Buffer;
  readonly error: Error | undefined;
}

/**
 * Asks as a browser would and listens until the end, or until nothing more is to be expected.
 * @param isToBeAsked called when the connection stands: whether there is anything to ask
 */
function ask(socket: Socket, host: string, isToBeAsked: () => boolean = () => true): Promise<Heard> {
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0);
    let error: Error | undefined;
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ answer, error });
    };
    let timer = setTimeout(done, PROBE_TIMEOUT_MS);
    const isTls = 'encrypted' in socket;
    socket.once(isTls ? 'secureConnect' : 'connect', () => {
      if (isToBeAsked()) socket.write(`GET /version HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      else {
        clearTimeout(timer);
        timer = setTimeout(done, VERDICT_MS);
      }
    });
    socket.on('data', (bytes: Buffer) => {
      answer = Buffer.concat([answer, bytes]);
      if (answer.length > MOST_ANSWER_BYTES) done();
    });
    socket.once('error', (thrown) => {
      error = thrown;
    });
    socket.once('close', done);
  });
}
